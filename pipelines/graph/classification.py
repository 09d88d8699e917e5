"""The DALI graph of classification: encoded bytes and plan rows -> normalised images [views, 3, size, size].

    CPU:  encoded --decode a region--> uint8 HWC --our kernel: resample, colour, flip--> float32 CHW of each view
    GPU:  encoded --decode a region--> uint8 HWC --DALI's slice and resize--> uint8 HWC --DALI arithmetic--> float CHW

A sample has one view in training, its window, and may have several in a test: they share one decode, of the smallest
region that holds all windows. With dtype "uint8" the graph stops before the colour: uint8 CHW, resampled and flipped,
to be coloured on the trainer's device. Training and testing share the graph, because everything that differs between
them is in the plan. The CPU resamples with our own kernel because DALI's resize costs more there than the decoder
(benchmarks/LOG.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import nvidia.dali.fn as fn

from ..io.dali import Node
from .kernels.operators import resample, resample_and_colour
from .nodes import DTYPES, INTERP_CODES, Feed, Graph, colour, decode_windows, inputs, resize


@dataclass(frozen=True, kw_only=True)
class ClassificationGraph(Graph):
    """Images of one size, [views, 3, size, size]."""

    views: int = 1
    """The number of views of each sample."""

    def feed(self, records: list[memoryview], rows: np.ndarray) -> Feed:
        """What the source returns for a batch of rows [N] or [N, views], all of one size.

        Encoded bytes, anchors and shapes of the regions; then on the CPU the windows in them, columns and kernels, on
        the GPU sizes, kernels, flips and, of several views, windows; last the matrices, where images are coloured.
        """
        encoded = [np.frombuffer(record, np.uint8) for record in records]
        rows = rows.reshape(len(rows), self.views)
        windows, size = rows["window"].copy(), int(rows["size"][0, 0])  # [N, V, 4]
        anchors = windows[:, :, :2].min(1)
        shapes = (windows[:, :, :2] + windows[:, :, 2:]).max(1) - anchors
        windows[:, :, :2] -= anchors[:, None]
        if not self.on_gpu:
            forward = np.arange(size, dtype=np.int32)
            columns = np.where(rows["flip"][:, :, None], forward[::-1], forward)
            how: Feed = windows, columns, np.ascontiguousarray(rows["interpolation"])
        else:
            sizes = np.full((len(rows), 2), size, np.float32)
            how = sizes, INTERP_CODES[rows["interpolation"]], rows["flip"].astype(np.int32)
            how += (windows,) * (self.views > 1)  # the window of a single view is all of its region
        matrices = (np.ascontiguousarray(rows["colour"]),) if self.coloured else ()
        return encoded, anchors, shapes, *how, *matrices

    def outputs(self, source: Callable[[], Feed]) -> tuple[Node, ...]:
        count = 6 + (self.on_gpu and self.views > 1) + self.coloured
        encoded, anchors, shapes, *rest = inputs(source, count)
        regions = decode_windows(encoded, anchors, shapes, on_gpu=self.on_gpu)  # HWC uint8
        return (self._on_gpu(regions, *rest) if self.on_gpu else self._on_cpu(regions, *rest),)

    def _on_cpu(self, regions: Node, windows: Node, columns: Node, kernels: Node, *matrices: Node) -> Node:
        if not matrices:
            return resample(columns, regions, windows, kernels)  # VCHW uint8
        return self.cast(resample_and_colour(columns, regions, windows, kernels, matrices[0]))  # VCHW float32

    def _on_gpu(self, regions: Node, sizes: Node, kernels: Node, flips: Node, *rest: Node) -> Node:
        matrices = rest[-1] if self.coloured else None
        if matrices is not None and regions.device == "gpu":
            matrices = matrices.gpu()
        images = []
        for view in range(self.views):
            windows = regions
            if self.views > 1:
                windows = fn.slice(regions, rest[0][view, :2], rest[0][view, 2:], axes=[0, 1])
            resized = resize(windows, kernels[view], sizes)  # HWC uint8
            if matrices is None:
                chw = fn.transpose(resized, perm=[2, 0, 1], output_layout="CHW")
                images.append(fn.flip(chw, horizontal=flips[view]))
            else:
                images.append(colour(resized, matrices[view], flips[view], DTYPES[self.dtype]))
        return fn.stack(*images)  # VCHW

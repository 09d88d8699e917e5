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
from typing import Any

import numpy as np
import nvidia.dali.fn as fn
from nvidia.dali import Pipeline
from nvidia.dali.types import Constant, DALIDataType, DALIImageType, DALIInterpType

from ..config import INTERPOLATIONS
from ..io.dali import Node
from ..plan.colour import GREY
from ..store.reader import ImageStore
from .kernels.operators import resample, resample_and_colour

_INTERP: dict[str, Any] = {
    "nearest": DALIInterpType.INTERP_NN,
    "linear": DALIInterpType.INTERP_LINEAR,
    "cubic": DALIInterpType.INTERP_CUBIC,
    "lanczos": DALIInterpType.INTERP_LANCZOS3,
    "gaussian": DALIInterpType.INTERP_GAUSSIAN,
}
INTERP_CODES = np.array([int(_INTERP[name]) for name in INTERPOLATIONS], np.int32)
DTYPES = {"float32": DALIDataType.FLOAT, "float16": DALIDataType.FLOAT16, "uint8": DALIDataType.UINT8}

Feed = tuple[list[np.ndarray] | np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """How to build the pipeline; `cuda` is the ordinal of the GPU, None for the CPU."""

    dtype: str
    """float32 or float16; uint8: images are not coloured."""
    cuda: int | None
    threads: int
    views: int = 1
    """The number of views of each sample."""
    prefetch: int = 2
    """The number of batches that DALI makes ahead."""

    def read(self, store: ImageStore, indices: np.ndarray) -> list[memoryview]:
        """The records that a batch needs."""
        return store.read(indices)

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
        if self.cuda is None:
            forward = np.arange(size, dtype=np.int32)
            columns = np.where(rows["flip"][:, :, None], forward[::-1], forward)
            how: Feed = windows, columns, np.ascontiguousarray(rows["interpolation"])
        else:
            sizes = np.full((len(rows), 2), size, np.float32)
            how = sizes, INTERP_CODES[rows["interpolation"]], rows["flip"].astype(np.int32)
            how += (windows,) * (self.views > 1)  # the window of a single view is all of its region
        matrices = () if self.dtype == "uint8" else (np.ascontiguousarray(rows["colour"]),)
        return encoded, anchors, shapes, *how, *matrices

    def pipeline(self, source: Callable[[], Feed], batch_size: int) -> Pipeline:
        """A built pipeline that pulls batches of at most batch_size from `source` until it raises StopIteration."""
        pipeline = empty_pipeline(batch_size, self.threads, self.cuda, self.prefetch)
        with pipeline:
            count = 6 + (self.cuda is not None and self.views > 1) + (self.dtype != "uint8")
            encoded, anchors, shapes, *rest = inputs(source, count)
            regions = decode_windows(encoded, anchors, shapes, on_gpu=self.cuda is not None)  # HWC uint8
            images = self._on_cpu(regions, *rest) if self.cuda is None else self._on_gpu(regions, *rest)
            pipeline.set_outputs(images)
        pipeline.build()
        return pipeline

    def _on_cpu(self, regions: Node, windows: Node, columns: Node, kernels: Node, *matrices: Node) -> Node:
        if not matrices:
            return resample(columns, regions, windows, kernels)  # VCHW uint8
        planes = resample_and_colour(columns, regions, windows, kernels, matrices[0])  # VCHW float32
        return planes if self.dtype == "float32" else fn.cast(planes, dtype=DTYPES[self.dtype])

    def _on_gpu(self, regions: Node, sizes: Node, kernels: Node, flips: Node, *rest: Node) -> Node:
        matrices = None if self.dtype == "uint8" else rest[-1]
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


def empty_pipeline(batch_size: int, threads: int, cuda: int | None, prefetch: int) -> Pipeline:
    """A pipeline without nodes, to be filled and built; its batches stay intact without a copy."""
    pipeline = Pipeline(batch_size=batch_size, num_threads=threads, device_id=cuda, prefetch_queue_depth=prefetch)
    assert pipeline.exec_dynamic, "batches stay intact without a copy only under the dynamic executor"
    return pipeline


def inputs(source: Callable[[], Feed], count: int) -> list[Node]:
    """The nodes that a batch of `source` feeds; DALI does not copy the buffers, so the source keeps them alive."""
    nodes: Any = fn.external_source(source=source, num_outputs=count, batch=True, no_copy=True)
    return list(nodes)


def resize(windows: Node, kernels: Node, sizes: Node) -> Node:
    """Windows uint8 HWC resized by DALI to `sizes` float32 [2], each with its kernel, an int32 from INTERP_CODES."""
    return fn.resize(windows, size=sizes, interp_type=fn.reinterpret(kernels, dtype=DALIDataType.INTERP_TYPE))


def decode_windows(encoded: Node, anchors: Node, shapes: Node, *, on_gpu: bool, masks: bool = False) -> Node:
    """Only the region of each image, uint8 [h, w, 3] RGB, EXIF orientation applied; of masks [h, w, 1], as they are.

    Without the term of zero times the peeked shape, a header that cannot be parsed kills the process in batches of 48
    and more; with it the decoder waits for peek_image_shape, which raises. A window that leaves its image would kill
    the process too; the engine has checked that the headers have the sizes which the plan goes by.
    """
    peeked = fn.peek_image_shape(encoded, dtype=DALIDataType.INT32)
    return fn.decoders.image_slice(
        encoded,
        anchors + 0 * peeked[:2],
        shapes,
        device="mixed" if on_gpu else "cpu",
        axes=[0, 1],
        output_type=DALIImageType.ANY_DATA if masks else DALIImageType.RGB,
        adjust_orientation=not masks,
        jpeg_fancy_upsampling=True,  # as the CPU's decoder does; the GPU's default differs
    )


def colour(images: Node, matrices: Node, flips: Node, dtype: DALIDataType) -> Node:
    """The colour stage in DALI arithmetic, for the GPU (and, to compare it with the kernel, on the CPU).

    images uint8 HWC and matrices float32 [3, 5] on the device, flips int32 on the CPU -> dtype CHW.
    """
    weights = Constant(GREY.astype(np.float32), device=images.device)
    mean: Node = fn.reductions.mean(images, axes=[0, 1])
    mean_grey = fn.reductions.sum(mean * weights)
    offset = matrices[:, 3] * mean_grey + matrices[:, 4]
    red, green, blue = images[:, :, 0:1], images[:, :, 1:2], images[:, :, 2:3]
    mapped = red * matrices[:, 0] + green * matrices[:, 1] + blue * matrices[:, 2] + offset  # HWC float32
    mapped = fn.reshape(mapped, layout="HWC")
    return fn.crop_mirror_normalize(mapped, mirror=flips, dtype=dtype, output_layout="CHW", mean=[0.0], std=[1.0])

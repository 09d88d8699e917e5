"""The DALI graph of scene parsing: encoded image and mask, one plan row -> image [3, H, W] and mask [H, W], aligned.

    image, CPU:  encoded --decode the window--> uint8 HWC --our kernel: resample, colour, flip, pad--> float32 CHW
    image, GPU:  encoded --decode the window--> uint8 HWC --DALI's resize, arithmetic, padded slice--> float CHW
    mask, both:  PNG --DALI's decoder, on the CPU--> uint8 HW1 --our kernel: nearest, flip, pad--> uint8 HW

DALI's decoder gives the exact indices of a single-channel PNG, in its own threads and for the price of OpenCV's. A mask
is decoded on the CPU for either device, as no GPU decodes PNG. In a test it is handed out as it is, whatever the
image's scale: predictions are compared at the original size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import nvidia.dali.fn as fn
from nvidia.dali.types import DALIDataType

from ..io.dali import Node
from ..store.reader import ImageStore
from .kernels.operators import place_images, place_masks
from .nodes import DTYPES, INTERP_CODES, Feed, Graph, colour, decode_windows, inputs, resize


@dataclass(frozen=True, kw_only=True)
class ParsingGraph(Graph):
    """Images of one size, and their masks."""

    ignore_index: int
    """The value of a mask where it is padded."""
    whole_masks: bool
    """Masks are handed out as they are; the window of every row is then the whole image."""

    def read(self, store: ImageStore, indices: np.ndarray) -> list[memoryview]:
        """The records of the images, then those of the masks."""
        return store.read(indices) + [store.encoded_mask(index) for index in indices.tolist()]

    def feed(self, records: list[memoryview], rows: np.ndarray) -> Feed:
        """For rows [N] of one size: encoded images and masks, what `placing` makes of the rows, and ignore indices
        where masks are moved.
        """
        encoded = [np.frombuffer(record, np.uint8) for record in records]
        count, (height, width) = len(rows), rows["size"][0]
        how = placing(self, rows, height, width)
        ignored = () if self.whole_masks else (np.full((count, 1), self.ignore_index, np.uint8),)
        return encoded[:count], encoded[count:], *how, *ignored

    def outputs(self, source: Callable[[], Feed]) -> tuple[Node, ...]:
        nodes = inputs(source, 9 if self.whole_masks else 10)
        encoded, encoded_masks, *how = nodes[:9]
        anchors, shapes, sizes, placed, flips, _, _ = how
        images = placed_windows(encoded, *how, graph=self)
        masks: Node = decode_windows(encoded_masks, anchors, shapes, on_gpu=False, masks=True)  # HW1 uint8
        if self.whole_masks:
            masks = fn.transpose(masks, perm=[2, 0, 1])  # 1HW
        else:
            masks = place_masks(sizes, masks, placed, flips, nodes[9])
        return images, masks.gpu() if self.on_gpu else masks


def placing(graph: Graph, rows: np.ndarray, height: int, width: int) -> Feed:
    """What placed_windows takes for rows [N] besides the encoded images, for outputs of height x width.

    Anchors and shapes of the windows, empty arrays of the outputs' shape, the rectangles that windows fill, flips,
    kernels, and matrices, which change nothing where images are not coloured.
    """
    kernels = INTERP_CODES[rows["interpolation"]] if graph.on_gpu else rows["interpolation"]
    unchanged = np.tile(np.eye(3, 5, dtype=np.float32), (len(rows), 1, 1))
    return (
        np.ascontiguousarray(rows["window"][:, :2]),
        np.ascontiguousarray(rows["window"][:, 2:]),
        [np.empty((0, height, width), np.int32)] * len(rows),
        np.ascontiguousarray(rows["placed"]),
        rows["flip"].astype(np.int32)[:, None],
        np.ascontiguousarray(kernels[:, None], np.int32),
        np.ascontiguousarray(rows["colour"]) if graph.coloured else unchanged,
    )


def placed_windows(encoded: Node, anchors: Node, shapes: Node, sizes: Node, *how: Node, graph: Graph) -> Node:
    """The graph's dtype [1, 3, H, W]: the windows of images, resampled, coloured and put into their rectangles.

    `how` is the rest of `placing`: rectangles, flips, kernels, matrices.
    """
    windows = decode_windows(encoded, anchors, shapes, on_gpu=graph.on_gpu)  # HWC uint8
    if graph.on_gpu:
        placed, flips, kernels, matrices = how
        return padded_images(windows, sizes, placed, flips, kernels, matrices.gpu(), dtype=graph.dtype)
    return graph.cast(place_images(sizes, windows, *how))  # 1CHW float32


def padded_images(
    windows: Node, sizes: Node, placed: Node, flips: Node, kernels: Node, matrices: Node, *, dtype: str
) -> Node:
    """What place_images makes, in DALI's operators, for the GPU (and, to compare it with the kernel, on the CPU).

    kernels int32 [1] from INTERP_CODES; windows and matrices on the device, the rest on the CPU -> dtype [1, 3, H, W].
    """
    resized = resize(windows, kernels[0], fn.cast(placed[2:], dtype=DTYPES["float32"]))  # HWC uint8
    planes = colour(resized, matrices, flips[0], DTYPES[dtype])  # CHW
    padded = fn.slice(
        planes,
        -placed[:2],
        sizes.shape(dtype=DALIDataType.INT32)[1:],
        axes=[1, 2],
        out_of_bounds_policy="pad",
        fill_values=[0.0],
    )
    return fn.stack(padded)

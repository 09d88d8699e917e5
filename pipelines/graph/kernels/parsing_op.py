"""The kernels of scene parsing as DALI CPU operators, one for the image and one for the mask, see kernel_op."""

from __future__ import annotations

from nvidia.dali.types import DALIDataType

from ...io.dali import Node
from .parsing import mask_shape, placed_mask_sample, placed_planes_sample, planes_shape
from .window_op import window_operator

_INT, _BYTE, _FLOAT = DALIDataType.INT32, DALIDataType.UINT8, DALIDataType.FLOAT


def place_images(sizes: Node, windows: Node, placed: Node, flips: Node, kernels: Node, matrices: Node) -> Node:
    """Windows uint8 HWC -> float32 [1, 3, H, W], each resampled and coloured into its place; 0 beside it.

    sizes int32 [0, H, W]: empty, its shape says H and W. placed int32 [4]: top, left, height, width of the place. flips
    and kernels int32 [1], matrices float32 [3, 5]. Runs in DALI's CPU threads; call inside a pipeline definition.
    """
    types, dimensions = [_INT, _BYTE, _INT, _INT, _INT, _FLOAT], [3, 3, 1, 1, 1, 2]
    run = window_operator(placed_planes_sample.address, planes_shape.address, (_FLOAT, 4), types, dimensions)
    return run(sizes, windows, placed, flips, kernels, matrices)


def place_masks(sizes: Node, windows: Node, placed: Node, flips: Node, ignored: Node) -> Node:
    """Windows of masks uint8 [h, w, 1] -> uint8 [1, H, W], nearest; beside its place the value `ignored` uint8 [1]."""
    types, dimensions = [_INT, _BYTE, _INT, _INT, _BYTE], [3, 3, 1, 1, 1]
    run = window_operator(placed_mask_sample.address, mask_shape.address, (_BYTE, 3), types, dimensions)
    return run(sizes, windows, placed, flips, ignored)

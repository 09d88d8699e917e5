"""The kernels as DALI CPU operators, to be called inside a pipeline definition; they run in DALI's CPU threads.

DALI's numba plugin wraps a Python function in closures that it compiles anew for every pipeline (seconds and 17 MB that
are never freed). These operators hand the plugin the addresses of C functions compiled once a process, from the disk
cache where there is one; they follow the plugin's calling convention of DALI 2.4. The plugin would swallow an exception
inside them and leave zeros, so there is nothing in them that can raise: the graph sees to the shapes.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali.plugin.numba import NumbaFunction
from nvidia.dali.types import DALIDataType

from ...io.dali import Node
from .window import levels_sample, planes_sample, views_shape

_INT, _BYTE, _FLOAT = DALIDataType.INT32, DALIDataType.UINT8, DALIDataType.FLOAT


class _CompiledFunction(NumbaFunction):
    """A NumbaFunction that is given addresses of C functions where its parent compiles Python ones."""

    def _get_run_fn_cpu(self, run_fn: int, *_: object) -> int:
        return run_fn

    def _get_setup_fn_cpu(self, setup_fn: int) -> int:
        return setup_fn


def _operator(
    run: Any, setup: Any, out: tuple[DALIDataType, int], types: list[DALIDataType], dimensions: list[int]
) -> NumbaFunction:
    """An operator of the compiled functions `run` and `setup`; `out`: type and number of dimensions of the output."""
    # Integers where the plugin expects Python functions, which it would compile anew: _CompiledFunction hands them on.
    addresses: dict[str, Any] = {"run_fn": run.address, "setup_fn": setup.address}
    return _CompiledFunction(**addresses, out_types=[out[0]], outs_ndim=[out[1]], in_types=types, ins_ndim=dimensions)


def resample_and_colour(columns: Node, regions: Node, windows: Node, kernels: Node, matrices: Node) -> Node:
    """Each sample's V windows of its region -> float32 [V, 3, S, S]; see window.window_to_planes.

    columns int32 [V, S], regions uint8 HWC, windows int32 [V, 4] inside the region, kernels int32 [V], matrices float32
    [V, 3, 5].
    """
    run = _operator(planes_sample, views_shape, (_FLOAT, 4), [_INT, _BYTE, _INT, _INT, _FLOAT], [2, 3, 2, 1, 3])
    return run(columns, regions, windows, kernels, matrices)


def resample(columns: Node, regions: Node, windows: Node, kernels: Node) -> Node:
    """As resample_and_colour without colour: uint8 [V, 3, S, S]; see window.window_to_levels."""
    run = _operator(levels_sample, views_shape, (_BYTE, 4), [_INT, _BYTE, _INT, _INT], [2, 3, 2, 1])
    return run(columns, regions, windows, kernels)


# Scene parsing's kernels take half a second to compile in every process, so they are imported only where they are used.


def place_images(sizes: Node, windows: Node, placed: Node, flips: Node, kernels: Node, matrices: Node) -> Node:
    """Windows uint8 HWC -> float32 [1, 3, H, W], each resampled and coloured into its rectangle; 0 beside it.

    sizes int32 [0, H, W]: empty arrays, whose shape says H and W. placed int32 [4]: top, left, height, width of the
    rectangle. flips and kernels int32 [1], matrices float32 [3, 5].
    """
    # The empty input comes first, since the setup function sees the shape of the first alone.
    from .parsing import placed_planes_sample, planes_shape

    types, dimensions = [_INT, _BYTE, _INT, _INT, _INT, _FLOAT], [3, 3, 1, 1, 1, 2]
    run = _operator(placed_planes_sample, planes_shape, (_FLOAT, 4), types, dimensions)
    return run(sizes, windows, placed, flips, kernels, matrices)


def place_masks(sizes: Node, windows: Node, placed: Node, flips: Node, ignored: Node) -> Node:
    """Windows of masks uint8 [h, w, 1] -> uint8 [1, H, W], nearest; `ignored` uint8 [1] is the value beside them."""
    from .parsing import mask_shape, placed_mask_sample

    run = _operator(placed_mask_sample, mask_shape, (_BYTE, 3), [_INT, _BYTE, _INT, _INT, _BYTE], [3, 3, 1, 1, 1])
    return run(sizes, windows, placed, flips, ignored)

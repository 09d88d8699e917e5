"""The window kernel as a DALI CPU operator.

DALI's numba plugin wraps a Python function in closures that it compiles anew for every pipeline (seconds and 17 MB that
are never freed). This operator hands the plugin the addresses of C functions compiled once a process, from the disk
cache where there is one; they follow the plugin's own calling convention (DALI 2.4). An exception inside would be
swallowed, so there is nothing in them that can raise: the graph sees to the shapes.
"""

from __future__ import annotations

from typing import Any

from nvidia.dali.plugin.numba import NumbaFunction
from nvidia.dali.types import DALIDataType

from ...io.dali import Node
from .window import levels_sample, planes_sample, views_shape


class _WindowOperator(NumbaFunction):
    """NumbaFunction that is given addresses of C functions where its parent compiles Python ones."""

    def _get_run_fn_cpu(self, run_fn: int, *_: object) -> int:
        return run_fn

    def _get_setup_fn_cpu(self, setup_fn: int) -> int:
        return setup_fn


def resample_and_colour(columns: Node, regions: Node, windows: Node, kernels: Node, matrices: Node) -> Node:
    """Each sample's V windows of its region -> float32 [V, 3, S, S]; see kernel_window.window_to_planes.

    columns int32 [V, S], regions uint8 HWC, windows int32 [V, 4] inside the region, kernels int32 [V], matrices float32
    [V, 3, 5]. Runs in DALI's CPU threads; call inside a pipeline definition.
    """
    types = [DALIDataType.INT32, DALIDataType.UINT8, DALIDataType.INT32, DALIDataType.INT32, DALIDataType.FLOAT]
    out = DALIDataType.FLOAT, 4
    run = window_operator(planes_sample.address, views_shape.address, out, types, [2, 3, 2, 1, 3])
    return run(columns, regions, windows, kernels, matrices)


def resample(columns: Node, regions: Node, windows: Node, kernels: Node) -> Node:
    """As resample_and_colour without colour: uint8 [V, 3, S, S]; see kernel_window.window_to_levels."""
    types = [DALIDataType.INT32, DALIDataType.UINT8, DALIDataType.INT32, DALIDataType.INT32]
    out = DALIDataType.UINT8, 4
    run = window_operator(levels_sample.address, views_shape.address, out, types, [2, 3, 2, 1])
    return run(columns, regions, windows, kernels)


def window_operator(
    run: Any, setup: Any, out: tuple[DALIDataType, int], types: list[DALIDataType], dimensions: list[int]
) -> NumbaFunction:
    """An operator of the C functions at the addresses `run` and `setup`; `out`: type and number of dimensions."""
    addresses: dict[str, Any] = {"run_fn": run, "setup_fn": setup}
    return _WindowOperator(**addresses, out_types=[out[0]], outs_ndim=[out[1]], in_types=types, ins_ndim=dimensions)

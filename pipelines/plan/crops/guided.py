"""Supervised Data Augmentation: the crop's centre is drawn where the heatmap says the object is.

Source: the talk (a location drawn with the activation map's probability, the crop's centre near it). Our choices: the
probability is proportional to value ** gamma, the centre is uniform inside the drawn cell, and a map without any
positive value leaves the plain draw. Cells of a map cover the whole image linearly, whatever the map's resolution.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from ...errors import InputError
from ...io.numba_cache import CACHE
from ...store.heatmaps import Cells, Heatmaps, quantise

WORDS = 4  # follow the heatmap or not, cell, y in the cell, x in the cell


def cells_of(heatmaps: Heatmaps, indices: np.ndarray) -> Cells:
    """The maps of these samples, each of any size, as one batch; raises InputError for what is no map."""
    maps = [_as_map(heatmaps[index], index) for index in indices.tolist()]
    empty = np.zeros(0, np.uint8)
    shapes = np.array([values.shape for values in maps], np.int64).reshape(-1, 2)
    return Cells(np.concatenate([empty, *(values.ravel() for values in maps)]), shapes)


def _as_map(values: Any, index: int) -> np.ndarray:
    """A heatmap as uint8 [h, w]: one of float values, or a torch tensor, as `sdali cams --maps` takes it."""
    if hasattr(values, "detach"):  # a tensor: planning needs no torch
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    if not isinstance(values, np.ndarray):
        raise InputError(f"a heatmap is uint8 or float [h, w], that of sample {index} is a {type(values).__name__}")
    if not (values.dtype == np.uint8 or values.dtype.kind == "f") or values.ndim != 2 or values.size == 0:
        form = f"{values.dtype} {list(values.shape)}"
        raise InputError(f"a heatmap is uint8 or float [h, w], that of sample {index} is {form}")
    if values.dtype == np.uint8:
        return values
    if not np.isfinite(values).all():
        raise InputError(f"the heatmap of sample {index} has values that are not finite")
    return quantise(values)


def draw_centres(maps: Cells, image_sizes: np.ndarray, u: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres float64 [N, 2] (y, x; pixels) drawn from N maps, and bool [N]: the map has a positive value.

    image_sizes: int [N, 2]; u: float64 [N, 3] in [0, 1): cell, y, x. Centres of maps without a positive value are
    meaningless.
    """
    cell, positive = _draw_cells(maps.values, maps.shapes.prod(1), _weights(gamma), np.ascontiguousarray(u[:, 0]))
    in_map = np.stack(np.divmod(cell, maps.shapes[:, 1]), 1) + u[:, 1:3]
    return in_map / maps.shapes * image_sizes, positive


@cache
def _weights(gamma: float) -> np.ndarray:
    """float64 [256]: the weight of each value."""
    return (np.arange(256) / 255.0) ** gamma


@numba.njit(
    "Tuple((int64[::1], bool_[::1]))(Array(uint8, 1, 'C', True), int64[::1], float64[::1], float64[::1])", cache=CACHE
)
def _draw_cells(values, counts, weight_of, u):  # pragma: no cover
    """int64 [N]: the cell of each map at share u of the sum of its weights; bool [N]: that sum is positive.

    counts: cells of each map; values: all maps' cells, one after another.
    """
    cells, positive = np.zeros(counts.size, np.int64), np.zeros(counts.size, np.bool_)
    start = 0
    for row in range(counts.size):
        stop = start + counts[row]
        total = 0.0
        for cell in range(start, stop):
            total += weight_of[values[cell]]
        positive[row] = total > 0
        reached = 0.0
        for cell in range(start, stop):
            reached += weight_of[values[cell]]
            if reached > u[row] * total:
                cells[row] = cell - start
                break
        start = stop
    return cells, positive

"""Supervised Data Augmentation: the crop's centre is drawn where the heatmap says the object is.

Source: the talk (a location drawn with the activation map's probability, the crop's centre near it). Our choices: the
probability is proportional to value ** gamma, the centre is uniform inside the drawn cell, and a map without any
positive value leaves the plain draw. Cells of a map cover the whole image linearly, whatever the map's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numba
import numpy as np

from ...errors import InputError
from ...io.numba_cache import CACHE
from ...store.heatmaps import Cells

WORDS = 4  # follow the heatmap or not, cell, y in the cell, x in the cell


def cells_of(maps: Sequence[np.ndarray]) -> Cells:
    """Maps uint8 [h, w], each of any size, as one batch; raises InputError for arrays that are not such maps."""
    for values in maps:
        if not isinstance(values, np.ndarray):
            raise InputError(f"a heatmap is a uint8 array [h, w], got {type(values).__name__}")
        if values.dtype != np.uint8 or values.ndim != 2 or values.size == 0:
            raise InputError(f"a heatmap is a uint8 array [h, w], got {values.dtype} {list(values.shape)}")
    empty = np.zeros(0, np.uint8)
    shapes = np.array([values.shape for values in maps], np.int64).reshape(-1, 2)
    return Cells(np.concatenate([empty, *(values.ravel() for values in maps)]), shapes)


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

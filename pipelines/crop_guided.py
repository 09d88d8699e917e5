"""Supervised Data Augmentation: the crop's centre is drawn where the heatmap says the object is.

Source: the talk (a location drawn with the activation map's probability, the crop's centre near it). Our choices: the
probability is proportional to value ** gamma, the centre is uniform inside the drawn cell, and a map without any
positive value leaves the plain draw. Cells of a map cover the whole image linearly, whatever the map's resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from .errors import InputError

WORDS = 4  # follow the heatmap or not, cell, y in the cell, x in the cell


class Heatmaps(Protocol):
    """Where the object is, image by image: CAMs, masks, boxes or a user's own arrays."""

    def __len__(self) -> int:
        """As many as the store has images."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """uint8 [h, w], any h and w, over the whole (EXIF-oriented) image of that index in the store."""
        ...


def draw_centres(
    maps: Sequence[np.ndarray], image_sizes: np.ndarray, u: np.ndarray, gamma: float
) -> tuple[np.ndarray, np.ndarray]:
    """Centres float64 [N, 2] (y, x; pixels) drawn from N maps, and bool [N]: the map has a positive value.

    maps: uint8 [h, w] each; image_sizes: int [N, 2]; u: float64 [N, 3] in [0, 1): cell, y, x. Centres of maps without
    a positive value are meaningless. Raises InputError for arrays that are not uint8 maps.
    """
    weight_of = (np.arange(256) / 255.0) ** gamma
    centres = np.zeros((len(maps), 2))
    positive = np.zeros(len(maps), bool)
    for shape, members in _by_shape(maps).items():
        rows = np.array(members)
        weights = weight_of[np.stack([maps[row] for row in members]).reshape(len(rows), -1)]
        cumulated = weights.cumsum(1)
        total = cumulated[:, -1:]
        cell = (cumulated <= u[rows, :1] * total).sum(1)
        positive[rows] = total[:, 0] > 0
        cell_y, cell_x = np.divmod(np.minimum(cell, weights.shape[1] - 1), shape[1])
        in_map = np.stack([cell_y, cell_x], 1) + u[rows, 1:3]
        centres[rows] = in_map / shape * image_sizes[rows]
    return centres, positive


def _by_shape(maps: Sequence[np.ndarray]) -> dict[tuple[int, ...], list[int]]:
    """Rows of maps of the same shape, so that each group is drawn at once."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, values in enumerate(maps):
        if not isinstance(values, np.ndarray):
            raise InputError(f"a heatmap is a uint8 array [h, w], got {type(values).__name__}")
        if values.dtype != np.uint8 or values.ndim != 2 or values.size == 0:
            raise InputError(f"a heatmap is a uint8 array [h, w], got {values.dtype} {list(values.shape)}")
        groups.setdefault(values.shape, []).append(row)
    return groups

"""Several views of a test image: ten crops, or random windows as in training; all are cut from one decode.

Rows have one more axis than in training, [N, views]. Sources: the ten crops are Krizhevsky et al.'s (NIPS 2012), four
corners and the centre, each also mirrored; random windows are the talk's ("test with 32 random crops" where scale and
aspect augmentation stays on in training).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import Crop
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from .classification import plain_rows
from .crops import random as crop_random
from .random_words import Purpose, uniforms

TEN = 10
MOST_VIEWS = 10_000  # of an image: our choice, so that a slip ends at once
# How far along the room left beside a square, y and x: the corners and the centre.
_OFFSETS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
_WORDS = crop_random.WORDS + 4  # the window, then the flip and three unused: whole blocks


@dataclass(frozen=True, kw_only=True)
class TenCropPlanner:
    """Squares of `crop_ratio` of the shorter side at the four corners and the centre, then the same mirrored."""

    store: ImageStore
    statistics: Statistics
    size: int
    crop_ratio: float

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PLAN [N, 10], see EvaluationPlanner.rows."""
        rows = plain_rows(start, indices, self.size, self.statistics)[:, None].repeat(TEN, 1)
        sizes = self.store.sizes[indices].astype(np.int64)
        squares = crop_random.squares(sizes, self.crop_ratio)
        corners = np.floor(_OFFSETS * (sizes - squares)[:, None]).astype(np.int64)  # [N, 5, 2]
        rows["window"][:, :, :2] = np.tile(corners, (1, 2, 1))
        rows["window"][:, :, 2:] = squares[:, None]
        rows["flip"][:, TEN // 2 :] = True
        return rows


@dataclass(frozen=True, kw_only=True)
class RandomViewsPlanner:
    """`views` windows as in training, mirrored at random where `flip` is set, without jitter; the same each epoch."""

    store: ImageStore
    statistics: Statistics
    size: int
    crop: Crop
    views: int
    flip: bool

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PLAN [N, views], see EvaluationPlanner.rows."""
        rows = plain_rows(start, indices, self.size, self.statistics)[:, None].repeat(self.views, 1)
        u = uniforms(0, 0, Purpose.VIEWS, start, len(rows), self.views * _WORDS).reshape(-1, _WORDS)
        sizes = self.store.sizes[indices].astype(np.int64).repeat(self.views, 0)
        windows, fallback = crop_random.window_sizes(self.crop, sizes, u, self.size)
        corners = crop_random.corners(self.crop, sizes, windows, fallback, u)
        rows["window"] = np.concatenate([corners, windows], 1).reshape(len(indices), self.views, 4)
        rows["flip"] = (u[:, crop_random.WORDS] < 0.5).reshape(-1, self.views) & self.flip
        return rows

"""The planners of classification: random windows for training, and what a test sees of an image.

A test sees one view of each image or several, cut from one decode. Sources: the ten crops are Krizhevsky et al.'s (NIPS
2012), four corners and the centre, each also mirrored; several random windows are the talk's ("test with 32 random
crops" where scale and aspect augmentation stays on in training).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import Augmentation, Crop
from ..store.heatmaps import Heatmaps
from .crops import random as crop_random
from .planner import Planner, draw_appearance, draw_flip, fill_plain, fill_windows
from .random_words import Draws, Purpose, uniforms

TEN = 10
MOST_VIEWS = 10_000  # of an image: our choice, so that a slip ends at once

# How far along the room left beside a square, y and x: the corners and the centre.
_OFFSETS = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [0.5, 0.5]])
_VIEW_WORDS = crop_random.WORDS + 4  # the window, then the flip and three unused: whole blocks


@dataclass(frozen=True, kw_only=True)
class EvaluationPlanner(Planner):
    """Plans what a test sees: a centred square of `crop_ratio` of the shorter side, or the whole image (None).

    A shorter-side resize to size / crop_ratio followed by a centre crop of `size`, as one window in whole pixels of
    the original. The whole image is squashed to size x size.
    """

    size: int
    crop_ratio: float | None

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        fill_plain(rows, self.statistics)
        windows = sizes if self.crop_ratio is None else crop_random.squares(sizes, self.crop_ratio)
        rows["window"], rows["size"] = np.concatenate([(sizes - windows) // 2, windows], 1), self.size
        return rows


@dataclass(frozen=True, kw_only=True)
class TrainPlanner(Planner):
    """Plans training windows: plain ones, or guided by `heatmaps`.

    Of several `sizes` one is drawn for each step, by the step's first position, so that all its samples on all ranks
    have the same. Source: the talk ("multi-scale training"); that sizes are equally likely is our choice.

    From the epoch `plain_from` on, rows are those of the planner `plain`, so that training ends at the test's scale. Of
    the augmentation only the flip is left, which changes neither scale nor colour. Source: the talk ("train and test in
    harmony": augmentation off for the last few epochs).
    """

    heatmaps: Heatmaps | None
    augmentation: Augmentation
    sizes: tuple[int, ...]
    plain: EvaluationPlanner | None = None
    plain_from: int = 0

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        if self.plain is not None and draws.epoch >= self.plain_from:
            self.plain.fill(rows, sizes, draws)
            draw_flip(rows, self.augmentation, draws)
            return rows
        rows["size"] = draws.one_of(np.array(self.sizes), per_step=True)
        crop, u = self.augmentation.crop, draws.uniforms(Purpose.CROP, crop_random.WORDS)
        windows, fallback = crop_random.window_sizes(crop, sizes, u, rows["size"])
        corners = crop_random.corners(crop, sizes, windows, fallback, u)
        fill_windows(rows, self.heatmaps, crop, sizes, windows, corners, draws)
        draw_appearance(rows, self.augmentation, self.statistics, draws)
        return rows


@dataclass(frozen=True, kw_only=True)
class TenCropPlanner(Planner):
    """Plans squares of `crop_ratio` of the shorter side at the four corners and the centre, then the same mirrored."""

    size: int
    crop_ratio: float

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        fill_plain(rows, self.statistics)
        rows["size"] = self.size
        rows = rows[:, None].repeat(TEN, 1)
        squares = crop_random.squares(sizes, self.crop_ratio)
        corners = np.floor(_OFFSETS * (sizes - squares)[:, None]).astype(np.int64)  # [N, 5, 2]
        rows["window"][:, :, :2] = np.tile(corners, (1, 2, 1))
        rows["window"][:, :, 2:] = squares[:, None]
        rows["flip"][:, TEN // 2 :] = True
        return rows


@dataclass(frozen=True, kw_only=True)
class RandomViewsPlanner(Planner):
    """Plans `views` windows as in training, mirrored at random if `flip` is set, not jittered; the same each epoch."""

    size: int
    crop: Crop
    views: int
    flip: bool

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        fill_plain(rows, self.statistics)
        rows["size"] = self.size
        u = uniforms(0, 0, Purpose.VIEWS, draws.start, len(rows), self.views * _VIEW_WORDS).reshape(-1, _VIEW_WORDS)
        sizes = sizes.repeat(self.views, 0)
        windows, fallback = crop_random.window_sizes(self.crop, sizes, u, self.size)
        corners = crop_random.corners(self.crop, sizes, windows, fallback, u)
        rows = rows[:, None].repeat(self.views, 1)
        rows["window"] = np.concatenate([corners, windows], 1).reshape(-1, self.views, 4)
        rows["flip"] = (u[:, crop_random.WORDS] < 0.5).reshape(-1, self.views) & self.flip
        return rows

"""The planners of scene parsing, and of whole images: one row moves an image and its mask, to an output of any size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import ParsingAugmentation
from ..store.heatmaps import Heatmaps
from .crops import scaled as crop_scaled
from .planner import FIELDS, Planner, draw_appearance, fill_plain, fill_windows, row_dtype
from .random_words import Draws, Purpose

PARSING_PLAN = row_dtype(
    {
        **FIELDS,
        "size": (np.int32, (2,)),  # height and width of the output
        "placed": (np.int32, (4,)),  # y, x, height, width in the output: what the window fills; the rest is padding
    }
)
"""A row of planner.PLAN with two numbers in `size`, and with `placed`; a flip mirrors the window within it."""


@dataclass(frozen=True, kw_only=True)
class ParsingTrainPlanner(Planner):
    """Plans training windows and the rectangles that they fill in an output of `size` (height, width).

    Offsets of window and padding are uniform; a guided window is centred at the drawn location and then moved inside
    the image.
    """

    dtype = PARSING_PLAN

    heatmaps: Heatmaps | None
    augmentation: ParsingAugmentation
    size: tuple[int, int]

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        rows["size"] = self.size
        crop, u = self.augmentation.crop, draws.uniforms(Purpose.CROP, crop_scaled.WORDS)
        scale = crop.scale[0] + u[:, 0] * (crop.scale[1] - crop.scale[0])
        windows, filled = crop_scaled.fit(sizes, crop_scaled.factors(sizes, crop.shorter_side, scale), self.size)
        corners = crop_scaled.offsets(sizes - windows, u[:, 1:3])
        fill_windows(rows, self.heatmaps, crop, sizes, windows, corners, draws)
        rows["placed"] = np.concatenate([crop_scaled.offsets(self.size - filled, u[:, 1:3]), filled], 1)
        draw_appearance(rows, self.augmentation, self.statistics, draws)
        return rows


@dataclass(frozen=True, kw_only=True)
class WholeImagePlanner(Planner):
    """Plans whole images, scaled as crops.scaled.factors says, without padding and without anything random."""

    dtype = PARSING_PLAN

    shorter_side: int | None
    scale: float = 1.0
    longer_side: float = np.inf
    flip: bool = False
    """All images are mirrored."""

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        fill_plain(rows, self.statistics)
        rows["window"][:, 2:], rows["flip"] = sizes, self.flip
        fill_scaled(rows, crop_scaled.factors(sizes, self.shorter_side, self.scale, self.longer_side))
        return rows


def fill_scaled(rows: np.ndarray, factors: np.ndarray) -> None:
    """Fill in `size` and `placed` of rows [N] whose windows are scaled by factors [N, 1] and fill their outputs."""
    rows["size"] = rows["placed"][:, 2:] = crop_scaled.scaled_sizes(rows["window"][:, 2:].astype(np.int64), factors)

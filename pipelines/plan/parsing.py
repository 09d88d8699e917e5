"""The plan of scene parsing: one row moves an image and its mask, into an output of height x width.

As in classification, a row is a pure function of (seed, epoch, position, attempt) and of what the loader was made of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import ParsingAugmentation
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from .classification import PLAN, draw_appearance, draw_centres, plain_rows
from .crops import random as crop_random
from .crops import scaled as crop_scaled
from .crops.guided import Heatmaps
from .random_words import Purpose, uniforms

_FIELDS = {name: PLAN[name] for name in PLAN.names or ()}
PARSING_PLAN = np.dtype(
    [
        *{**_FIELDS, "size": (np.int32, (2,))}.items(),  # height and width of the output
        ("placed", np.int32, (4,)),  # y, x, height, width in the output: what the window fills; the rest is padding
    ]
)
"""A row of classification.PLAN with two numbers in `size`, and with `placed`; a flip mirrors the window within it."""


@dataclass(frozen=True, kw_only=True)
class ParsingTrainPlanner:
    """Plans training windows and the rectangles that they fill in an output of `size` (height, width)."""

    store: ImageStore
    heatmaps: Heatmaps | None
    augmentation: ParsingAugmentation
    statistics: Statistics
    size: tuple[int, int]
    seed: int

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PARSING_PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ... of the epoch.

        Offsets of window and padding are uniform; a guided window is centred at the drawn location and then moved
        inside the image.
        """
        rows = plain_rows(start, indices, np.array(self.size), self.statistics, PARSING_PLAN)
        crop, sizes = self.augmentation.crop, self.store.sizes[indices].astype(np.int64)
        u = uniforms(self.seed, epoch, Purpose.CROP, start, len(rows), crop_scaled.WORDS, attempt)
        scale = crop.scale[0] + u[:, 0] * (crop.scale[1] - crop.scale[0])
        windows, filled = crop_scaled.fit(sizes, crop_scaled.factors(sizes, crop.shorter_side, scale), self.size)
        corners = crop_scaled.offsets(sizes - windows, u[:, 1:3])
        if self.heatmaps is not None:
            centres = draw_centres(rows, self.heatmaps, crop, sizes, self.seed, epoch, attempt)
            guided = crop_random.around(sizes, windows, centres)
            corners = np.where(rows["guided"][:, None], guided, corners)
        rows["window"] = np.concatenate([corners, windows], 1)
        rows["placed"] = np.concatenate([crop_scaled.offsets(self.size - filled, u[:, 1:3]), filled], 1)
        draw_appearance(rows, self.augmentation, self.statistics, self.seed, epoch, attempt)
        return rows


@dataclass(frozen=True, kw_only=True)
class ParsingTestPlanner:
    """Plans whole images, scaled by `scale` (see crops.scaled.factors), without padding and without anything random."""

    store: ImageStore
    statistics: Statistics
    scale: float
    shorter_side: int | None

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PARSING_PLAN [N] for the samples `indices` (int64 [N]); the same every epoch."""
        sizes = self.store.sizes[indices].astype(np.int64)
        output = crop_scaled.scaled_sizes(sizes, crop_scaled.factors(sizes, self.shorter_side, self.scale))
        rows = plain_rows(start, indices, output, self.statistics, PARSING_PLAN)
        rows["window"][:, 2:], rows["placed"][:, 2:] = sizes, output
        return rows

"""The plan: everything random about a batch, decided before a pixel is touched, one structured row for each sample.

A row is a pure function of (seed, epoch, position, attempt) and of the store, the heatmaps and the options: the same
whatever the batch size, ranks or threads. The graph executes rows; tests replay them with OpenCV. Here is what the
planners of all tasks share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..config import INTERPOLATIONS, Appearance, Guidance
from ..store.heatmaps import Heatmaps, HeatmapStore
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from . import colour
from .crops import guided as crop_guided
from .crops import random as crop_random
from .random_words import Draws, Purpose

FIELDS: dict[str, Any] = {
    "position": np.int64,  # in the epoch
    "index": np.int64,  # of the sample in the store
    "window": (np.int32, (4,)),  # y, x, height, width in the oriented original
    "size": np.int32,  # side of the output, pixels
    "interpolation": np.int32,  # number in config.INTERPOLATIONS
    "factors": (np.float32, (3,)),  # brightness, contrast, saturation
    "lighting": (np.float32, (3,)),  # coefficients of the RGB eigenvectors
    "colour": (np.float32, (3, 5)),  # the matrix of these factors, lighting and normalisation: see colour.matrices
}
FLAGS = {
    "flip": np.bool_,  # left-right, after the resize
    "guided": np.bool_,  # the window follows a heatmap
}


def row_dtype(fields: dict[str, Any]) -> np.dtype:
    """The dtype of plan rows with these fields and FLAGS, in whole words, so that torch takes each field as it is.

    What fills the last word is a field, too: NumPy copies no bytes between fields, and rows are compared by bytes.
    """
    listed = [*fields.items(), *FLAGS.items()]
    return np.dtype([*listed, ("unused", f"V{-np.dtype(listed).itemsize % 8}")])


PLAN = row_dtype(FIELDS)

_APPEARANCE_WORDS = 2 + colour.WORDS  # flip, interpolation, colour


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Makes the plan rows of consecutive positions; a subclass for each way to draw windows."""

    dtype: ClassVar[np.dtype] = PLAN

    store: ImageStore
    statistics: Statistics
    seed: int = 0

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """Rows [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ... of the epoch.

        Rows have one more axis, [N, views], where a sample has several. step: the first position of the step over all
        ranks, where that is not `start`. attempt: how often the positions have been drawn before.
        """
        rows = np.zeros(len(indices), self.dtype)
        rows["position"], rows["index"] = np.arange(start, start + len(indices)), indices
        draws = Draws(self.seed, epoch, start, len(indices), attempt, start if step is None else step)
        return self.fill(rows, self.store.sizes[indices].astype(np.int64), draws)

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        """Decide everything that rows [N] do not say yet; sizes: int64 [N, 2], height and width of the images."""
        raise NotImplementedError


def fill_plain(rows: np.ndarray, statistics: Statistics) -> None:
    """Fill in an appearance without anything random: no flip, no jitter, linear interpolation."""
    rows["interpolation"], rows["factors"] = INTERPOLATIONS.index("linear"), 1
    rows["colour"] = colour.matrices(np.ones((1, 3)), np.zeros((1, 3)), statistics)


def draw_appearance(rows: np.ndarray, augmentation: Appearance, statistics: Statistics, draws: Draws) -> None:
    """Fill in flip, interpolation and colour of rows [N]."""
    u = draws.uniforms(Purpose.APPEARANCE, _APPEARANCE_WORDS)
    rows["flip"] = u[:, 0] < augmentation.flip
    kernels = np.array([INTERPOLATIONS.index(name) for name in augmentation.interpolations])
    rows["interpolation"] = kernels[(u[:, 1] * len(kernels)).astype(np.int64)]
    rows["factors"], rows["lighting"] = colour.draw(augmentation.colour, u[:, 2:])
    # From what the row holds, float32, so that the matrix follows from the row alone.
    factors, lighting = rows["factors"].astype(np.float64), rows["lighting"].astype(np.float64)
    rows["colour"] = colour.matrices(factors, lighting, statistics)


def draw_flip(rows: np.ndarray, augmentation: Appearance, draws: Draws) -> None:
    """Fill in the flip of rows [N] alone, as draw_appearance would."""
    rows["flip"] = draws.uniforms(Purpose.APPEARANCE, _APPEARANCE_WORDS)[:, 0] < augmentation.flip


def fill_windows(
    rows: np.ndarray,
    heatmaps: Heatmaps | None,
    crop: Guidance,
    sizes: np.ndarray,
    windows: np.ndarray,
    corners: np.ndarray,
    draws: Draws,
) -> None:
    """Fill in `window` and `guided` of rows [N]: centred where the heatmaps say, or with the plainly drawn corners.

    sizes, windows: int64 [N, 2], height and width of the images and of the windows; corners: int64 [N, 2].
    """
    if heatmaps is not None:
        u, indices = draws.uniforms(Purpose.GUIDE, crop_guided.WORDS), rows["index"]
        if isinstance(heatmaps, HeatmapStore):
            maps = heatmaps.cells(indices)
        else:
            maps = crop_guided.cells_of(heatmaps, indices)
        centres, positive = crop_guided.draw_centres(maps, sizes, u[:, 1:], crop.gamma)
        rows["guided"] = positive & (u[:, 0] < crop.p_sda)
        corners = np.where(rows["guided"][:, None], crop_random.around(sizes, windows, centres), corners)
    rows["window"] = np.concatenate([corners, windows], 1)


def first_views(rows: np.ndarray) -> np.ndarray:
    """Rows [N] themselves, or of rows [N, views] the first view of each sample."""
    return rows.reshape(len(rows), -1)[:, 0] if rows.size else rows.reshape(-1)

"""The plan: everything random about a batch, decided before a pixel is touched, one structured row a sample.

A row is a pure function of (seed, epoch, position, attempt) and of the store, the heatmaps and the options: the same
whatever the batch size, ranks or threads. The graph executes rows; tests replay them with OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import colour, crop_guided, crop_random
from .config import INTERPOLATIONS, Augmentation
from .crop_guided import Heatmaps
from .draws import Purpose, uniforms
from .heatmap_codec import Cells
from .heatmap_read import HeatmapStore
from .statistics import Statistics
from .store_read import ImageStore

PLAN = np.dtype(
    [
        ("position", np.int64),  # place in the epoch
        ("index", np.int64),  # sample in the store
        ("window", np.int32, (4,)),  # y, x, height, width in the oriented original
        ("flip", np.bool_),  # left-right, after the resize
        ("interpolation", np.int32),  # place in config.INTERPOLATIONS
        ("guided", np.bool_),  # the window follows a heatmap
        ("factors", np.float32, (3,)),  # brightness, contrast, saturation
        ("lighting", np.float32, (3,)),  # coefficients of the RGB eigenvectors
        ("colour", np.float32, (3, 5)),  # what those make, with normalisation: see colour.matrices
    ]
)

_APPEARANCE_WORDS = 2 + colour.WORDS  # flip, interpolation, colour


@dataclass(frozen=True, kw_only=True)
class TrainPlanner:
    """Plans training windows of a store: plain ones, or guided by `heatmaps`."""

    store: ImageStore
    heatmaps: Heatmaps | None
    augmentation: Augmentation
    statistics: Statistics
    size: int
    seed: int

    def rows(self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0) -> np.ndarray:
        """PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ... of the epoch."""
        rows = np.zeros(len(indices), PLAN)
        rows["position"], rows["index"] = np.arange(start, start + len(indices)), indices
        self._windows(rows, epoch, start, attempt)
        self._appearance(rows, epoch, start, attempt)
        return rows

    def _windows(self, rows: np.ndarray, epoch: int, start: int, attempt: int) -> None:
        crop, sizes = self.augmentation.crop, self.store.sizes[rows["index"]].astype(np.int64)
        u = uniforms(self.seed, epoch, Purpose.CROP, start, len(rows), crop_random.WORDS, attempt)
        windows, fallback = crop_random.window_sizes(crop, sizes, u, self.size)
        corners = crop_random.place(crop, sizes, windows, fallback, u)
        if self.heatmaps is not None:
            u = uniforms(self.seed, epoch, Purpose.GUIDE, start, len(rows), crop_guided.WORDS, attempt)
            centres, positive = crop_guided.draw_centres(self._maps(rows["index"]), sizes, u[:, 1:], crop.gamma)
            rows["guided"] = positive & (u[:, 0] < crop.p_sda)
            guided = crop_random.around(sizes, windows, centres)
            corners = np.where(rows["guided"][:, None], guided, corners)
        rows["window"] = np.concatenate([corners, windows], 1)

    def _maps(self, indices: np.ndarray) -> Cells:
        if isinstance(self.heatmaps, HeatmapStore):
            return self.heatmaps.cells(indices)
        assert self.heatmaps is not None
        return crop_guided.cells_of([self.heatmaps[index] for index in indices.tolist()])

    def _appearance(self, rows: np.ndarray, epoch: int, start: int, attempt: int) -> None:
        augmentation = self.augmentation
        u = uniforms(self.seed, epoch, Purpose.APPEARANCE, start, len(rows), _APPEARANCE_WORDS, attempt)
        rows["flip"] = u[:, 0] < augmentation.flip
        kernels = np.array([INTERPOLATIONS.index(name) for name in augmentation.interpolations])
        rows["interpolation"] = kernels[(u[:, 1] * len(kernels)).astype(np.int64)]
        rows["factors"], rows["lighting"] = colour.draw(augmentation.colour, u[:, 2:])
        rows["colour"] = colour.matrices(
            rows["factors"].astype(np.float64), rows["lighting"].astype(np.float64), self.statistics
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationPlanner:
    """Plans what a test sees: a centred square of `crop_ratio` of the shorter side, or the whole image (None).

    A shorter-side resize to size / crop_ratio followed by a centre crop of `size`, as one window in whole pixels of
    the original. The whole image is squashed to size x size.
    """

    store: ImageStore
    statistics: Statistics
    crop_ratio: float | None

    def rows(self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0) -> np.ndarray:
        """PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ...; the same every epoch."""
        rows = np.zeros(len(indices), PLAN)
        rows["position"], rows["index"] = np.arange(start, start + len(indices)), indices
        sizes = self.store.sizes[indices].astype(np.int64)
        windows = sizes
        if self.crop_ratio is not None:
            side = np.floor(sizes.min(1) * self.crop_ratio + 0.5).astype(np.int64)
            windows = np.maximum(side, 1)[:, None].repeat(2, 1)
        rows["window"] = np.concatenate([(sizes - windows) // 2, windows], 1)
        rows["interpolation"] = INTERPOLATIONS.index("linear")
        rows["factors"] = 1
        rows["colour"] = colour.matrices(np.ones((1, 3)), np.zeros((1, 3)), self.statistics)
        return rows


@dataclass(frozen=True, kw_only=True)
class HarmonyPlanner:
    """Training windows up to an epoch, and from then on what a test sees, so that training ends on its scale.

    Of the augmentation only the flip is left, which changes neither scale nor colour. Source: the talk ("train and test
    in harmony": augmentation off for the last few epochs).
    """

    train: TrainPlanner
    test: EvaluationPlanner
    test_from: int
    """The first epoch that sees test windows."""

    def rows(self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0) -> np.ndarray:
        """PLAN [N], see TrainPlanner.rows."""
        if epoch < self.test_from:
            return self.train.rows(epoch, start, indices, attempt)
        rows = self.test.rows(epoch, start, indices, attempt)
        u = uniforms(self.train.seed, epoch, Purpose.APPEARANCE, start, len(rows), _APPEARANCE_WORDS, attempt)
        rows["flip"] = u[:, 0] < self.train.augmentation.flip
        return rows

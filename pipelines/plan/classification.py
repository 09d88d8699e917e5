"""The plan: everything random about a batch, decided before a pixel is touched, one structured row for each sample.

A row is a pure function of (seed, epoch, position, attempt) and of the store, the heatmaps and the options: the same
whatever the batch size, ranks or threads. The graph executes rows; tests replay them with OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import INTERPOLATIONS, Appearance, Augmentation, Crop, ParsingCrop
from ..store.heatmap_codec import Cells
from ..store.heatmaps import HeatmapStore
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from . import colour
from .crops import guided as crop_guided
from .crops import random as crop_random
from .crops.guided import Heatmaps
from .random_words import Purpose, uniforms

PLAN = np.dtype(
    [
        ("position", np.int64),  # in the epoch
        ("index", np.int64),  # of the sample in the store
        ("window", np.int32, (4,)),  # y, x, height, width in the oriented original
        ("size", np.int32),  # side of the output, pixels
        ("flip", np.bool_),  # left-right, after the resize
        ("interpolation", np.int32),  # number in config.INTERPOLATIONS
        ("guided", np.bool_),  # the window follows a heatmap
        ("factors", np.float32, (3,)),  # brightness, contrast, saturation
        ("lighting", np.float32, (3,)),  # coefficients of the RGB eigenvectors
        ("colour", np.float32, (3, 5)),  # the matrix of these factors, lighting and normalisation: see colour.matrices
    ]
)

_APPEARANCE_WORDS = 2 + colour.WORDS  # flip, interpolation, colour


@dataclass(frozen=True, kw_only=True)
class TrainPlanner:
    """Plans training windows of a store: plain ones, or guided by `heatmaps`.

    Of several `sizes` one is drawn for each step, by the step's first position, so that all its samples on all ranks
    have the same. Source: the talk ("multi-scale training"); that sizes are equally likely is our choice.
    """

    store: ImageStore
    heatmaps: Heatmaps | None
    augmentation: Augmentation
    statistics: Statistics
    sizes: tuple[int, ...]
    seed: int

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ... of the epoch.

        step: first position of the step over all ranks, where that is not `start`.
        """
        rows = np.zeros(len(indices), PLAN)
        rows["position"], rows["index"] = np.arange(start, start + len(indices)), indices
        rows["size"] = drawn_of(np.array(self.sizes), self.seed, epoch, start if step is None else step, 1)
        self._windows(rows, epoch, start, attempt)
        draw_appearance(rows, self.augmentation, self.statistics, self.seed, epoch, attempt)
        return rows

    def _windows(self, rows: np.ndarray, epoch: int, start: int, attempt: int) -> None:
        crop, sizes = self.augmentation.crop, self.store.sizes[rows["index"]].astype(np.int64)
        u = uniforms(self.seed, epoch, Purpose.CROP, start, len(rows), crop_random.WORDS, attempt)
        windows, fallback = crop_random.window_sizes(crop, sizes, u, rows["size"])
        corners = crop_random.corners(crop, sizes, windows, fallback, u)
        if self.heatmaps is not None:
            centres = draw_centres(rows, self.heatmaps, crop, sizes, self.seed, epoch, attempt)
            guided = crop_random.around(sizes, windows, centres)
            corners = np.where(rows["guided"][:, None], guided, corners)
        rows["window"] = np.concatenate([corners, windows], 1)


def drawn_of(sizes: np.ndarray, seed: int, epoch: int, start: int, count: int, attempt: int = 0) -> np.ndarray:
    """[count]: one of `sizes` for each position from `start` on, equally likely."""
    u = uniforms(seed, epoch, Purpose.SIZE, start, count, 1, attempt)[:, 0]
    return sizes[(u * len(sizes)).astype(np.int64)]


def draw_centres(
    rows: np.ndarray,
    heatmaps: Heatmaps,
    crop: Crop | ParsingCrop,
    image_sizes: np.ndarray,
    seed: int,
    epoch: int,
    attempt: int,
) -> np.ndarray:
    """Centres float64 [N, 2] (y, x; pixels) that the heatmaps give consecutive rows [N].

    Fills in `guided`; the centres of rows that are not guided are meaningless.
    """
    u = uniforms(seed, epoch, Purpose.GUIDE, _start(rows), len(rows), crop_guided.WORDS, attempt)
    maps = _maps(heatmaps, rows["index"])
    centres, positive = crop_guided.draw_centres(maps, image_sizes, u[:, 1:], crop.gamma)
    rows["guided"] = positive & (u[:, 0] < crop.p_sda)
    return centres


def _maps(heatmaps: Heatmaps, indices: np.ndarray) -> Cells:
    if isinstance(heatmaps, HeatmapStore):
        return heatmaps.cells(indices)
    return crop_guided.cells_of([heatmaps[index] for index in indices.tolist()])


def draw_appearance(
    rows: np.ndarray, augmentation: Appearance, statistics: Statistics, seed: int, epoch: int, attempt: int
) -> None:
    """Fill in flip, interpolation and colour of consecutive rows [N]."""
    u = uniforms(seed, epoch, Purpose.APPEARANCE, _start(rows), len(rows), _APPEARANCE_WORDS, attempt)
    rows["flip"] = u[:, 0] < augmentation.flip
    kernels = np.array([INTERPOLATIONS.index(name) for name in augmentation.interpolations])
    rows["interpolation"] = kernels[(u[:, 1] * len(kernels)).astype(np.int64)]
    rows["factors"], rows["lighting"] = colour.draw(augmentation.colour, u[:, 2:])
    factors, lighting = rows["factors"].astype(np.float64), rows["lighting"].astype(np.float64)
    rows["colour"] = colour.matrices(factors, lighting, statistics)


def _start(rows: np.ndarray) -> int:
    return int(rows["position"][0]) if len(rows) else 0


@dataclass(frozen=True, kw_only=True)
class EvaluationPlanner:
    """Plans what a test sees: a centred square of `crop_ratio` of the shorter side, or the whole image (None).

    A shorter-side resize to size / crop_ratio followed by a centre crop of `size`, as one window in whole pixels of
    the original. The whole image is squashed to size x size.
    """

    store: ImageStore
    statistics: Statistics
    size: int
    crop_ratio: float | None

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ...; the same every epoch."""
        rows = plain_rows(start, indices, self.size, self.statistics)
        sizes = self.store.sizes[indices].astype(np.int64)
        windows = sizes if self.crop_ratio is None else crop_random.squares(sizes, self.crop_ratio)
        rows["window"] = np.concatenate([(sizes - windows) // 2, windows], 1)
        return rows


def plain_rows(
    start: int, indices: np.ndarray, size: int | np.ndarray, statistics: Statistics, dtype: np.dtype = PLAN
) -> np.ndarray:
    """Rows [N] without windows and without anything random: no jitter, linear interpolation.

    dtype: PLAN, or that of another task.
    """
    rows = np.zeros(len(indices), dtype)
    rows["position"], rows["index"] = np.arange(start, start + len(indices)), indices
    rows["size"], rows["interpolation"], rows["factors"] = size, INTERPOLATIONS.index("linear"), 1
    rows["colour"] = colour.matrices(np.ones((1, 3)), np.zeros((1, 3)), statistics)
    return rows


def first_views(rows: np.ndarray) -> np.ndarray:
    """PLAN [N]: rows [N] themselves, or of rows [N, views] the first view of each sample."""
    return rows.reshape(len(rows), -1)[:, 0] if rows.size else rows.reshape(-1)


@dataclass(frozen=True, kw_only=True)
class HarmonyPlanner:
    """Training windows before the epoch `test_from`, then what a test sees, so that training ends at the test's scale.

    Of the augmentation only the flip is left, which changes neither scale nor colour. Source: the talk ("train and test
    in harmony": augmentation off for the last few epochs).
    """

    train: TrainPlanner
    test: EvaluationPlanner
    test_from: int

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PLAN [N], see TrainPlanner.rows."""
        if epoch < self.test_from:
            return self.train.rows(epoch, start, indices, attempt, step)
        rows = self.test.rows(epoch, start, indices, attempt)
        u = uniforms(self.train.seed, epoch, Purpose.APPEARANCE, start, len(rows), _APPEARANCE_WORDS, attempt)
        rows["flip"] = u[:, 0] < self.train.augmentation.flip
        return rows

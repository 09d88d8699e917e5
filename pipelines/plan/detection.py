"""The plan of object detection: the whole image or an IoU-constrained crop, scaled by its shorter side, never padded.

A row is one of parsing.PARSING_PLAN whose `placed` fills its `size`, the true height and width of the scaled window.
The plan has no padding: only the graph pads, to the batch's largest, so that a row and its image are the same in any
batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import DetectionAugmentation
from ..errors import BadSampleError
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from .classification import draw_appearance, drawn_of, plain_rows
from .crops import iou as crop_iou
from .crops import scaled as crop_scaled
from .parsing import PARSING_PLAN
from .random_words import Purpose, uniforms


@dataclass(frozen=True, kw_only=True)
class DetectionTrainPlanner:
    """Plans windows and their scaled sizes: one of `shorter_sides`, but no side above `longer_side`.

    A shorter side is drawn for each step of all ranks, by its first position, or with `per_sample` for each sample.
    Source: the talk ("multi-scale training"); that sides are equally likely is our choice.
    """

    store: ImageStore
    augmentation: DetectionAugmentation
    statistics: Statistics
    shorter_sides: tuple[int, ...]
    longer_side: int
    per_sample: bool
    seed: int

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PARSING_PLAN [N] for the samples `indices` (int64 [N]) at positions start, start + 1, ... of the epoch."""
        rows = plain_rows(start, indices, np.zeros(2), self.statistics, PARSING_PLAN)
        sizes = self.store.sizes[indices].astype(np.int64)
        crop = self.augmentation.crop
        rows["window"][:, 2:] = sizes
        if crop.probability:
            u = uniforms(self.seed, epoch, Purpose.CROP, start, len(rows), crop_iou.WORDS, attempt)
            rows["window"] = crop_iou.draw(crop, sizes, [self._boxes(index) for index in indices.tolist()], u)
        sides = np.array(self.shorter_sides)
        if self.per_sample:
            shorter = drawn_of(sides, self.seed, epoch, start, len(rows), attempt)
        else:
            shorter = drawn_of(sides, self.seed, epoch, start if step is None else step, 1)
        _scale(rows, shorter, self.longer_side)
        draw_appearance(rows, self.augmentation, self.statistics, self.seed, epoch, attempt)
        return rows

    def _boxes(self, index: int) -> np.ndarray:
        try:
            return self.store.boxes(index).xyxy
        except BadSampleError:  # the graph reads the boxes again and raises when the batch is due
            return np.zeros((0, 4))


@dataclass(frozen=True, kw_only=True)
class DetectionTestPlanner:
    """Plans whole images, scaled to one shorter side, without anything random; all mirrored where `flip` is set."""

    store: ImageStore
    statistics: Statistics
    shorter_side: int
    longer_side: int
    flip: bool

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        """PARSING_PLAN [N] for the samples `indices` (int64 [N]); the same every epoch."""
        rows = plain_rows(start, indices, np.zeros(2), self.statistics, PARSING_PLAN)
        rows["window"][:, 2:], rows["flip"] = self.store.sizes[indices], self.flip
        _scale(rows, np.array([self.shorter_side]), self.longer_side)
        return rows


def _scale(rows: np.ndarray, shorter: np.ndarray, longer: int) -> None:
    """Fill in `size` and `placed` of rows [N] with windows; shorter: int [N] or [1]."""
    windows = rows["window"][:, 2:].astype(np.int64)
    factors = crop_scaled.capped_factors(windows, shorter, longer)
    rows["size"] = rows["placed"][:, 2:] = crop_scaled.scaled_sizes(windows, factors)

"""The planner of object detection: the whole image or an IoU-constrained crop, scaled by its shorter side.

A row is one of parsing.PARSING_PLAN whose `placed` fills its `size`, the true height and width of the scaled window.
The plan has no padding: only the graph pads, to the batch's largest, so that a row and its image are the same in any
batch. A test takes parsing.WholeImagePlanner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config import DetectionAugmentation
from ..errors import BadSampleError
from .crops import iou as crop_iou
from .crops import scaled as crop_scaled
from .parsing import PARSING_PLAN, fill_scaled
from .planner import Planner, draw_appearance
from .random_words import Draws, Purpose


@dataclass(frozen=True, kw_only=True)
class DetectionTrainPlanner(Planner):
    """Plans windows and their scaled sizes: one of `shorter_sides`, but no side above `longer_side`.

    A shorter side is drawn for each step of all ranks, by its first position, or with `per_sample` for each sample.
    Source: the talk ("multi-scale training"); that sides are equally likely is our choice.
    """

    dtype = PARSING_PLAN

    augmentation: DetectionAugmentation
    shorter_sides: tuple[int, ...]
    longer_side: int
    per_sample: bool

    def fill(self, rows: np.ndarray, sizes: np.ndarray, draws: Draws) -> np.ndarray:
        crop = self.augmentation.crop
        rows["window"][:, 2:] = sizes
        if crop.probability:
            boxes = [self._boxes(index) for index in rows["index"].tolist()]
            rows["window"] = crop_iou.draw(crop, sizes, boxes, draws.uniforms(Purpose.CROP, crop_iou.WORDS))
        shorter_sides = draws.one_of(np.array(self.shorter_sides), per_step=not self.per_sample)
        fill_scaled(rows, crop_scaled.factors(rows["window"][:, 2:], shorter_sides, longer_side=self.longer_side))
        draw_appearance(rows, self.augmentation, self.statistics, draws)
        return rows

    def _boxes(self, index: int) -> np.ndarray:
        try:
            return self.store.boxes(index).xyxy
        except BadSampleError:  # the graph reads the boxes again and raises when the batch is due
            return np.zeros((0, 4))

"""Mean intersection over union and pixel accuracy, counted so that any split of the images agrees.

Source: the ADE20K development kit: pixels without a class are left out, intersections and unions are totals over the
set, and the score is the mean of mean IoU and pixel accuracy. Empty, merge, compute, as Accuracy; ranks add `totals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MeanIou:
    """`totals` int64 [K, K]: pixels of the row's class that are predicted as the column's."""

    totals: Tensor

    @classmethod
    def empty(cls, classes: int, device: torch.device | str = "cpu") -> MeanIou:
        """Of no pixel."""
        return cls(torch.zeros(classes, classes, dtype=torch.int64, device=device))

    @classmethod
    def of(cls, predictions: Tensor, masks: Tensor, *, classes: int) -> MeanIou:
        """Of pixels in any order: int64 of one shape, predictions in [0, K); a mask of K or more has no class."""
        labelled = masks < classes
        cells = masks[labelled] * classes + predictions[labelled]
        return cls(torch.bincount(cells, minlength=classes**2).view(classes, classes))

    def merge(self, other: MeanIou) -> MeanIou:
        """Of both sets of pixels, which must not share any."""
        return MeanIou(self.totals + other.totals)

    def compute(self) -> dict[str, Any]:
        """Shares in [0, 1]: score, mean_iou, pixel_accuracy, per_class (list of K IoUs); pixels with a class.

        A class with neither true nor predicted pixels has an IoU of 0, and so lowers the mean, as in ADE20K's kit.
        """
        totals = self.totals.double()
        right, true, predicted = totals.diag(), totals.sum(1), totals.sum(0)
        per_class = (right / (true + predicted - right).clamp(min=1)).tolist()
        mean_iou = sum(per_class) / len(per_class)
        pixel_accuracy = float(right.sum() / true.sum().clamp(min=1))
        return {
            "score": (mean_iou + pixel_accuracy) / 2,
            "mean_iou": mean_iou,
            "pixel_accuracy": pixel_accuracy,
            "pixels": int(true.sum()),
            "per_class": per_class,
        }

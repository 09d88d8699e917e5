"""The metric of scene parsing: mean intersection over union and pixel accuracy.

Source: the development kit of ADE20K. Pixels without a class are left out, intersections and unions are summed over the
whole set before they are divided, and the score is the mean of mean IoU and pixel accuracy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import Totals


class MeanIou(Totals):
    """IoU of class k = right_k / (true_k + predicted_k - right_k), in pixels.

    Entry (i, j) of the table counts the pixels of class i that are predicted as class j.
    """

    @classmethod
    def of(cls, predictions: Tensor, masks: Tensor, *, classes: int) -> MeanIou:
        """The metric of pixels in any order: int64 tensors of one shape, predictions in [0, K).

        Pixels whose mask is K or more have no class and do not count.
        """
        labelled = masks < classes
        cells = masks[labelled] * classes + predictions[labelled]
        return cls(torch.bincount(cells, minlength=classes**2).view(classes, classes).double())

    def compute(self) -> dict[str, Any]:
        """Shares in [0, 1]: `score`, `mean_iou`, `pixel_accuracy`, `per_class` (K IoUs); `pixels` that have a class.

        A class with neither true nor predicted pixels has an IoU of 0 and so lowers the mean, as in ADE20K's kit.
        """
        right, true, predicted = self.totals.diag(), self.totals.sum(1), self.totals.sum(0)
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

"""How many images of each class are predicted as which class.

Empty, merge, compute, as Accuracy: any split of the images agrees, and ranks add their `totals`. What is right here is
right there: the diagonal holds the images of which rank_of_label is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .accuracy import rank_of_label


@dataclass(frozen=True, eq=False)
class ConfusionCounts:
    """`totals` float64 [K, K]: images of the row's class that are predicted as the column's."""

    totals: Tensor

    @classmethod
    def empty(cls, classes: int, device: torch.device | str = "cpu") -> ConfusionCounts:
        """Of no image."""
        return cls(torch.zeros(classes, classes, dtype=torch.float64, device=device))

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> ConfusionCounts:
        """Of one batch: logits or probabilities, float [B, K] of two classes or more, and int64 [B] in [0, K); B may be
        0.
        """
        totals = cls.empty(scores.shape[1], scores.device).totals
        cells = labels * len(totals) + _predicted(scores, labels)
        totals.view(-1).index_add_(0, cells, torch.ones_like(cells, dtype=torch.float64))
        return cls(totals)

    def merge(self, other: ConfusionCounts) -> ConfusionCounts:
        """Of both sets of images, which must not share any."""
        return ConfusionCounts(self.totals + other.totals)

    def compute(self) -> np.ndarray:
        """int64 [K, K], true class -> predicted class."""
        return self.totals.cpu().numpy().astype(np.int64)


def _predicted(scores: Tensor, labels: Tensor) -> Tensor:
    """int64 [B]: the label where it comes first, else the first of the other classes; no number counts as highest."""
    classes = torch.arange(scores.shape[1], device=scores.device)
    is_label = classes == labels[:, None]
    others = torch.where(scores.isnan(), torch.inf, scores).masked_fill(is_label, -torch.inf)
    highest = (others == others.amax(1, keepdim=True)) & ~is_label
    first = torch.where(highest, classes, len(classes)).amin(1)
    return torch.where(rank_of_label(scores, labels) < 1, labels, first)

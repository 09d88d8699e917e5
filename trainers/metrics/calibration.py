"""Expected calibration error: how far the confidence of predictions is from how often they are right.

Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017: 15 bins of equal width over the probability
of the predicted class; the error is the mean of |accuracy - confidence| over the bins, weighted by images. Empty,
merge, compute, as Accuracy: any split of the images agrees, and ranks add their `totals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .accuracy import rank_of_label

BINS = 15


@dataclass(frozen=True, eq=False)
class Calibration:
    """`totals` float64 [15, 3], a row for each bin: images, right at first, sum of the confidence."""

    totals: Tensor

    @classmethod
    def empty(cls, device: torch.device | str = "cpu") -> Calibration:
        """Of no image."""
        return cls(torch.zeros(BINS, 3, dtype=torch.float64, device=device))

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Calibration:
        """Of one batch: float [B, K], rows summing to 1, and int64 [B] in [0, K); B may be 0.

        Bin b holds b/15 < p <= (b + 1)/15; 0 belongs to the first, and what rounding puts above 1 to the last.
        """
        confidence = probabilities.double().amax(1)
        right = (rank_of_label(probabilities, labels) < 1).double()
        inner_edges = torch.arange(1, BINS, dtype=torch.float64, device=confidence.device) / BINS
        columns = torch.stack([torch.ones_like(right), right, confidence], 1)
        return cls(cls.empty(confidence.device).totals.index_add_(0, torch.bucketize(confidence, inner_edges), columns))

    def merge(self, other: Calibration) -> Calibration:
        """Of both sets of images, which must not share any."""
        return Calibration(self.totals + other.totals)

    def compute(self) -> dict[str, Any]:
        """`ece` in [0, 1], None without images; `bins`, 15 of {"low", "high", "images", "accuracy", "confidence"}, the
        last two None in an empty bin.
        """
        rows = self.totals.tolist()
        images = sum(count for count, _, _ in rows)
        gap = sum(abs(right - confidence) for _, right, confidence in rows)
        bins = [
            {
                "low": place / BINS,
                "high": (place + 1) / BINS,
                "images": int(count),
                "accuracy": right / count if count else None,
                "confidence": confidence / count if count else None,
            }
            for place, (count, right, confidence) in enumerate(rows)
        ]
        return {"ece": gap / images if images else None, "bins": bins}

"""Top-1 and top-5 accuracy, overall and per class, and the loss, counted so that any split of the images agrees.

Empty, merge, compute: a value of each batch is merged into the next, the ranks' values are added, and only then is
anything divided. Counts are integers in float64, so they are exact below 2^53 images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Accuracy:
    """`totals` float64 [K, 4], a row for each true class: images, right at first, right among five, sum of the loss."""

    totals: Tensor

    @classmethod
    def empty(cls, classes: int, device: torch.device | str = "cpu") -> Accuracy:
        """Of no image."""
        return cls(torch.zeros(classes, 4, dtype=torch.float64, device=device))

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Accuracy:
        """Of one batch: float [B, K] and int64 [B] in [0, K); B may be 0."""
        logits = logits.double()  # so that the loss, too, hardly depends on how the images are split
        return cls._of(logits, labels, F.cross_entropy(logits, labels, reduction="none"))

    @classmethod
    def of_probabilities(cls, probabilities: Tensor, labels: Tensor) -> Accuracy:
        """Of one batch: float [B, K], rows summing to 1, as a mean of several softmax does, and int64 [B]; B may be 0.

        The loss is the negative log of the label's probability, at least the smallest normal float32: a softmax that
        has underflown to 0 costs 87.3 nats, not infinity.
        """
        own = probabilities.double().gather(1, labels[:, None])[:, 0]
        return cls._of(probabilities, labels, -own.clamp(min=torch.finfo(torch.float32).tiny).log())

    @classmethod
    def _of(cls, scores: Tensor, labels: Tensor, loss: Tensor) -> Accuracy:
        place = rank_of_label(scores, labels)
        columns = torch.stack([torch.ones_like(loss), (place < 1).double(), (place < 5).double(), loss], 1)
        return cls(cls.empty(scores.shape[1], scores.device).totals.index_add_(0, labels, columns))

    def merge(self, other: Accuracy) -> Accuracy:
        """Of both sets of images, which must not share any."""
        return Accuracy(self.totals + other.totals)

    def compute(self) -> dict[str, Any]:
        """Shares in [0, 1]: top1, top5 (only of more than 5 classes), per_class (list of K top-1 shares); loss (mean
        cross-entropy, nats); images. None where there is no image to divide by.
        """
        images, first, five, loss = self.totals.sum(0).tolist()
        result: dict[str, Any] = {"top1": _share(first, images)}
        if len(self.totals) > 5:
            result["top5"] = _share(five, images)
        per_class = [_share(hits, count) for count, hits, _, _ in self.totals.tolist()]
        return {**result, "loss": _share(loss, images), "images": int(images), "per_class": per_class}


def rank_of_label(logits: Tensor, labels: Tensor) -> Tensor:
    """How many classes score above the true one: int64 [B], 0 for a prediction that is right.

    Of equal scores the lower class comes first, so the answer is one on every device; a bfloat16 head does make ties. A
    score that is not a number counts as above, and a label without a score as last: a diverged model is never right by
    luck.
    """
    own = logits.gather(1, labels[:, None])
    lower = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    above = ~(logits <= own) | ((logits == own) & lower)
    return above.sum(1)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

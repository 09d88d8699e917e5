"""Metrics of classifiers: accuracy and loss, calibration, and which class is mistaken for which.

All three metrics agree on which predictions are right: those where `rank_of_label` is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from . import Totals, share

BINS = 15


def rank_of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """How many classes score above the true one.

    Among equal scores the lower class number comes first, so that every device gives the same result; the logits of a
    bfloat16 network are often equal. A score that is not a number counts as above the true class, and a true class
    whose own score is not a number counts as last: a diverged network is never right by luck.

    scores: float [B, K], logits or probabilities; labels: int64 [B] in [0, K).
    Returns int64 [B], 0 where the prediction is right.
    """
    of_label = scores.gather(1, labels[:, None])
    lower = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    above = ~(scores <= of_label) | ((scores == of_label) & lower)
    return above.sum(1)


class Accuracy(Totals):
    """Top-1 and top-5 accuracy, overall and per class, and the mean loss.

    Columns of each true class: number of images, number that are right, number whose class is among the first five, sum
    of the loss.
    """

    columns = 4

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> Accuracy:
        """The metric of one batch: logits float [B, K], labels int64 [B] in [0, K); B may be 0."""
        logits = logits.double()  # so that the loss, too, hardly depends on how the images are split
        return cls._of(logits, labels, F.cross_entropy(logits, labels, reduction="none"))

    @classmethod
    def of_probabilities(cls, probabilities: Tensor, labels: Tensor) -> Accuracy:
        """The metric of one batch whose probabilities are known, such as the mean of several softmax outputs.

        probabilities: float [B, K], rows summing to 1; B may be 0. The loss is the negative logarithm of the label's.
        Those below the smallest normal float32 count as that number: a softmax that has underflown to 0 costs 87.3
        nats, not infinity.
        """
        of_label = probabilities.double().gather(1, labels[:, None])[:, 0]
        return cls._of(probabilities, labels, -of_label.clamp(min=torch.finfo(torch.float32).tiny).log())

    @classmethod
    def _of(cls, scores: Tensor, labels: Tensor, loss: Tensor) -> Accuracy:
        rank = rank_of_label(scores, labels)
        columns = torch.stack([torch.ones_like(loss), (rank < 1).double(), (rank < 5).double(), loss], 1)
        return cls(cls.empty(scores.shape[1], scores.device).totals.index_add_(0, labels, columns))

    def compute(self) -> dict[str, Any]:
        """Shares of the images in [0, 1]: `top1`, `top5` (only for more than 5 classes), `per_class` (K top-1 shares).

        Besides, `loss` (mean cross-entropy in nats) and `images` (their number). A value is None where there are no
        images to divide by.
        """
        images, first, five, loss = self.totals.sum(0).tolist()
        result: dict[str, Any] = {"top1": share(first, images)}
        if len(self.totals) > 5:
            result["top5"] = share(five, images)
        per_class = [share(hits, count) for count, hits, _, _ in self.totals.tolist()]
        return {**result, "loss": share(loss, images), "images": int(images), "per_class": per_class}


class Calibration(Totals):
    """Expected calibration error: how far the confidence of predictions is from how often they are right.

    The probabilities of the predicted classes are sorted into 15 bins of equal width. With n_b images in bin b,

        ECE = sum_b n_b / n * |accuracy_b - mean confidence_b|

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equation 3. A row for each bin, and not
    for each class: number of images, number that are right, sum of the confidence.
    """

    columns = 3

    @classmethod
    def of(cls, probabilities: Tensor, labels: Tensor) -> Calibration:
        """The metric of one batch: probabilities float [B, K], labels int64 [B] in [0, K); B may be 0.

        Bin b holds b/15 < p <= (b + 1)/15; a probability of 0 belongs to the first bin, and one that rounding has put
        above 1 to the last.
        """
        confidence = probabilities.double().amax(1)
        right = (rank_of_label(probabilities, labels) < 1).double()
        inner_edges = torch.arange(1, BINS, dtype=torch.float64, device=confidence.device) / BINS
        columns = torch.stack([torch.ones_like(right), right, confidence], 1)
        bins = torch.bucketize(confidence, inner_edges)
        return cls(cls.empty(BINS, confidence.device).totals.index_add_(0, bins, columns))

    def compute(self) -> float | None:
        """The expected calibration error, in [0, 1]; None without images."""
        images, right, confidence = self.totals.unbind(1)
        return share((right - confidence).abs().sum().item(), images.sum().item())


class ConfusionCounts(Totals):
    """The confusion matrix: entry (i, j) counts the images of class i that are predicted as class j."""

    @classmethod
    def of(cls, scores: Tensor, labels: Tensor) -> ConfusionCounts:
        """The metric of one batch: logits or probabilities float [B, K] with K >= 2, labels int64 [B]; B may be 0."""
        totals = cls.empty(scores.shape[1], scores.device).totals
        cells = labels * len(totals) + _predicted(scores, labels)
        totals.view(-1).index_add_(0, cells, torch.ones_like(cells, dtype=torch.float64))
        return cls(totals)

    def compute(self) -> np.ndarray:
        """int64 [K, K], true class by predicted class."""
        return self.totals.cpu().numpy().astype(np.int64)


def _predicted(scores: Tensor, labels: Tensor) -> Tensor:
    """The predicted classes, int64 [B]: the label where `rank_of_label` is 0, else the best of the other classes.

    A score that is not a number counts as the highest.
    """
    classes = torch.arange(scores.shape[1], device=scores.device)
    is_label = classes == labels[:, None]
    others = torch.where(scores.isnan(), torch.inf, scores).masked_fill(is_label, -torch.inf)
    highest = (others == others.amax(1, keepdim=True)) & ~is_label
    first = torch.where(highest, classes, len(classes)).amin(1)
    return torch.where(rank_of_label(scores, labels) < 1, labels, first)

"""The figures of a classifier or an ensemble, from averaged softmax: accuracy, loss, calibration, confusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..core.process import Process
from ..metrics.classification import Accuracy, Calibration, ConfusionCounts


class Figures:
    """Counts over batches of images; `device` is where they are counted."""

    def __init__(self, classes: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self._accuracy, self._calibration = Accuracy.empty(len(classes), device), Calibration.empty(device)
        self._confusion = ConfusionCounts.empty(len(classes), device)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: float64 [B, K], int64 [B]."""
        self._accuracy = self._accuracy.merge(Accuracy.of_probabilities(probabilities, labels))
        self._calibration = self._calibration.merge(Calibration.of(probabilities, labels))
        self._confusion = self._confusion.merge(ConfusionCounts.of(probabilities, labels))

    def sum_over(self, process: Process) -> None:
        """Make the counts those of all ranks, on each rank."""
        for metric in (self._accuracy, self._calibration, self._confusion):
            process.sum(metric.totals)

    def compute(self) -> dict[str, Any]:
        """Plain JSON: `top1`, `top1_error`, `top5`, `top5_error` (of more than 5 classes), `loss` (mean negative log of
        the label's probability, nats), `ece` (expected calibration error), `images`, `per_class` (class name -> top-1,
        None for a class without images).
        """
        figures = self._accuracy.compute()
        errors = {f"{name}_error": 1 - figures[name] for name in ("top1", "top5") if name in figures}
        per_class = dict(zip(self.classes, figures["per_class"], strict=True))
        return {**figures, **errors, "ece": self._calibration.compute()["ece"], "per_class": per_class}

    def confusion(self) -> np.ndarray:
        """Images int64 [K, K]: true class -> predicted class."""
        return self._confusion.compute()

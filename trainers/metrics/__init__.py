"""Metrics: each is empty to begin with, made of each batch, merged, and computed at the very end.

So a result does not depend on how the images were split into batches, and the ranks of a distributed evaluation add up
their tables (`Totals`) or gather their rows (`detections.DetectionRecord`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

Metric = TypeVar("Metric", bound="Totals")


@dataclass(frozen=True, eq=False)
class Totals:
    """A metric whose state is one table of sums over images or pixels, float64 with a row for each class.

    Counts in it are exact below 2^53.
    """

    totals: Tensor
    columns: ClassVar[int | None] = None
    """None: as many as classes."""

    @classmethod
    def empty(cls: type[Metric], classes: int, device: torch.device | str = "cpu") -> Metric:
        """The metric of no images."""
        return cls(torch.zeros(classes, cls.columns or classes, dtype=torch.float64, device=device))

    def merge(self: Metric, other: Metric) -> Metric:
        """The metric of both sets of images, which must not share any."""
        return type(self)(self.totals + other.totals)


def share(part: float, whole: float) -> float | None:
    """part / whole, or None where there is nothing to divide by."""
    return part / whole if whole else None

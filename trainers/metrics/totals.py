"""What the metrics that are tables of counts have in common.

Such a metric is used in three steps. `empty` is the metric of no images; `of` is that of one batch, and `merge` adds it
to what came before; `compute` divides at the very end. So the result does not depend on how the images were split into
batches, and the ranks of a distributed evaluation add up their `totals`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Metric = TypeVar("Metric", bound="Totals")


@dataclass(frozen=True, eq=False)
class Totals:
    """A metric whose state is one table of sums over images or pixels."""

    totals: Tensor

    def merge(self: Metric, other: Metric) -> Metric:
        """The metric of both sets of images, which must not share any."""
        return type(self)(self.totals + other.totals)


def share(part: float, whole: float) -> float | None:
    """part / whole, or None where there is nothing to divide by."""
    return part / whole if whole else None

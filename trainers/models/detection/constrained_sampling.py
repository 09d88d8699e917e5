"""Constrained negative/positive ratio (Hikvision 2016): a step learns from at most 1.5 negatives for each positive.

A stock sampler fills its 256 places with negatives, so that ten and more come on each positive. Here the number of
negatives follows that of positives, down to a least number in all, which is what the talk gives (32, ratio 1.5); the
most positives, 128, are our choice, a stock sampler's.

Losses of boxes are divided by a stock sampler's fixed count all the same (`rpn.py`, `faster_rcnn.py`): divided by what
was sampled, as in torchvision, 32 in place of 256 would give each positive's box eight times the weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ....pipelines.errors import InputError
from ...core.checks import check_count, check_least
from .box_matching import NEGATIVE


@dataclass(frozen=True, kw_only=True)
class ConstrainedConfig:
    """How many positives and negatives a step learns from, for each image."""

    positives: int = 128
    """At most."""

    ratio: float = 1.5
    """Negatives to one positive, at most, unless `least` asks for more."""

    least: int = 32
    """Positives and negatives together; negatives fill them up, as far as there are any."""

    def __post_init__(self) -> None:
        check_count("positives", self.positives)
        check_count("least", self.least)
        check_least("ratio", self.ratio, 0)
        if self.least > self.positives + math.floor(self.ratio * self.positives):
            raise InputError(
                f"least must be at most what {self.positives} positives and {self.ratio} negatives to each make, "
                f"got {self.least}"
            )


class ConstrainedSampler:
    """Labels of each image, int64 [N] with 1 and more positive, 0 negative, -1 ignored -> two lists of masks [N].

    The masks of the chosen positives and negatives; called like torchvision's BalancedPositiveNegativeSampler, and
    drawing from torch's random state like that.
    """

    def __init__(self, config: ConstrainedConfig) -> None:
        self.config = config

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        positives = [_some(of_image > NEGATIVE, self.config.positives) for of_image in labels]
        negatives = [
            _some(of_image == NEGATIVE, self.negatives(int(chosen.sum())))
            for of_image, chosen in zip(labels, positives, strict=True)
        ]
        return positives, negatives

    def negatives(self, positives: int) -> int:
        """How many are wanted beside so many positives."""
        return max(math.floor(self.config.ratio * positives), self.config.least - positives)


def _some(mask: Tensor, count: int) -> Tensor:
    """`count` of the True places at random, or all where there are fewer."""
    places = mask.nonzero().flatten()
    chosen = torch.zeros_like(mask)
    chosen[places[torch.randperm(len(places), device=mask.device)[:count]]] = True
    return chosen

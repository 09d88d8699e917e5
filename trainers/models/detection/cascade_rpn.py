"""Cascade RPN (Hikvision 2016; arXiv 1710.10749): a second RPN takes the first one's boxes as its anchors.

RPN2 stands on RPN1's 3 x 3 features and has a 3 x 3 convolution, scores and boxes of its own. Proposals that RPN1 finds
small are RPN1's, the others RPN2's; which is decided by RPN1's box, so each anchor still gives one proposal. (Not the
later "Cascade RPN" of Vu et al., 2019.)

Our choices: RPN1's boxes give no gradient and are neither clipped nor dropped before they serve; degenerate ones, which
have no code, take no part in RPN2's loss, nor do small ones. A box that overlaps no anchor well is no target of RPN2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....pipelines.errors import InputError
from ...core.checks import check_least
from .box_matching import IGNORED, match, proper
from .rpn import RegionProposalNetwork, RPNConfig, RPNHead, RPNOutput, Sampler, check_threshold


@dataclass(frozen=True, kw_only=True)
class CascadeConfig:
    """RPN2 of a Cascade RPN; thresholds and weight are our choice."""

    smallest: float = 64.0
    """Side of the square, in pixels of the network's input, from whose area on a proposal is RPN2's."""

    high: float = 0.7
    """IoU of RPN1's box with a ground truth from which on it is a positive of RPN2."""

    low: float = 0.3
    """IoU below which it is a negative."""

    weight: float = 1.0
    """Of RPN2's losses."""

    def __post_init__(self) -> None:
        check_least("smallest", self.smallest, 0)
        check_least("weight", self.weight, 0)
        for name in ("high", "low"):
            check_threshold(name, getattr(self, name))
        if self.low > self.high:
            raise InputError(f"low must be at most high, got {self.low} and {self.high}")


class CascadeRPN(RegionProposalNetwork):
    """Features [B, channels, h, w] -> outputs of RPN1 and RPN2. RPN1's weights have the names of a plain RPN's."""

    def __init__(self, channels: int, config: RPNConfig, sampler: Sampler, cascade: CascadeConfig) -> None:
        super().__init__(channels, config, sampler)
        self.cascade = cascade
        self.second = RPNHead(config.width, config.width, self.anchors.num_anchors_per_location()[0])

    def forward(self, features: Tensor) -> tuple[RPNOutput, ...]:
        (first,) = super().forward(features)
        return first, self.second(first.hidden, first.boxes)

    def losses(self, outputs: tuple[RPNOutput, ...], boxes: list[Tensor]) -> dict[str, Tensor]:
        """RPN1's, and `rpn2_objectness` and `rpn2_box`; 0 where no box of RPN1 is large enough."""
        second = outputs[1]
        labels, matched = [], []
        usable = proper(second.anchors) & ~self.small(second.anchors)
        for anchors, used, truth in zip(second.anchors, usable, boxes, strict=True):
            label, number = match(anchors, truth, high=self.cascade.high, low=self.cascade.low)
            labels.append(torch.where(used, label, IGNORED))
            matched.append(number)
        objectness, box = self.output_losses(second, labels, matched, boxes)
        weight = self.cascade.weight
        return super().losses(outputs, boxes) | {"rpn2_objectness": weight * objectness, "rpn2_box": weight * box}

    def merged(self, outputs: tuple[RPNOutput, ...]) -> tuple[Tensor, Tensor]:
        first, second = outputs
        small = self.small(first.boxes)
        boxes = torch.where(small[..., None], first.boxes, second.boxes)
        return boxes, torch.where(small, first.logits, second.logits).detach()

    def small(self, boxes: Tensor) -> Tensor:
        """bool [B, N]: boxes [B, N, 4] of less area than the smallest of RPN2."""
        sides = boxes[..., 2:] - boxes[..., :2]
        return sides.prod(-1) < self.cascade.smallest**2

"""Cascade RPN (Hikvision 2016; arXiv 1710.10749): a second RPN takes the boxes of the first as its anchors.

RPN2 reads RPN1's 3 x 3 features through another 3 x 3 convolution and predicts scores and boxes again. Each anchor
gives one proposal: RPN1's where RPN1's box is small, else RPN2's. (This is not the later "Cascade RPN" of Vu et al.,
2019.)

Our choices: RPN1's boxes carry no gradient, and are neither clipped nor dropped before RPN2 uses them. Small and
degenerate ones (without width or height, so that no box can be coded relative to them) take no part in RPN2's loss. A
ground-truth box that overlaps none of RPN1's boxes well is no target of RPN2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ....pipelines.errors import InputError
from ...core.checks import check_least, check_threshold
from .rpn import RegionProposalNetwork, RPNConfig, RPNHead, RPNOutput
from .sampling import IGNORED, Sampler, match, proper


@dataclass(frozen=True, kw_only=True)
class CascadeConfig:
    """The second RPN of a Cascade RPN; thresholds and weight are our choice."""

    smallest: float = 64.0
    """Proposals whose area is at least that of a square of this side, in pixels of the network's input, are RPN2's."""

    high: float = 0.7
    """RPN1's box is a positive of RPN2 if its IoU with a ground-truth box is at least this."""

    low: float = 0.3
    """RPN1's box is a negative of RPN2 if its IoU with every ground-truth box is below this."""

    weight: float = 1.0
    """Factor on RPN2's losses."""

    def __post_init__(self) -> None:
        check_least("smallest", self.smallest, 0)
        check_least("weight", self.weight, 0)
        for name in ("high", "low"):
            check_threshold(name, getattr(self, name))
        if self.low > self.high:
            raise InputError(f"low must be at most high, got {self.low} and {self.high}")


class CascadeRPN(RegionProposalNetwork):
    """Features [B, channels, h, w] -> outputs of RPN1 and RPN2. RPN1's weights have the same names as a plain RPN's."""

    def __init__(self, channels: int, config: RPNConfig, sampler: Sampler, cascade: CascadeConfig) -> None:
        super().__init__(channels, config, sampler)
        self.cascade = cascade
        self.second = RPNHead(config.width, config.width, self.anchors.num_anchors_per_location()[0])

    def forward(self, features: Tensor) -> tuple[RPNOutput, ...]:
        (first,) = super().forward(features)
        return first, self.second(first.hidden, first.boxes)

    def losses(self, outputs: tuple[RPNOutput, ...], boxes: list[Tensor]) -> dict[str, Tensor]:
        """RPN1's losses, and `rpn2_objectness` and `rpn2_box`, which are 0 where no box of RPN1 is large enough."""
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
        """Which boxes [B, N, 4] have too small an area for RPN2: bool [B, N]."""
        sides = boxes[..., 2:] - boxes[..., :2]
        return sides.prod(-1) < self.cascade.smallest**2

"""Which anchors and regions a training step learns from: those that match the ground truth, then a choice of them.

`match` says which box an anchor or region stands for. `ConstrainedSampler` and `hardest` choose among them; both are
parts of the talk, and replace torchvision's sampler of a fixed number with a fixed share of positives.

Constrained negative/positive ratio (Hikvision 2016): a stock sampler fills its batch of 256 with negatives, so that ten
and more come on each positive. Here the number of negatives follows that of positives, 1.5 to 1, down to a least number
in all, which the talk gives (32); the limit of 128 positives is our choice, a stock sampler's. The losses of boxes are
divided by a stock sampler's fixed count all the same: divided by what was sampled, as in torchvision, 32 in place of
256 would give each positive's box eight times the weight.

Online hard example mining (Shrivastava 2016): the head learns from the regions with the highest loss. A pass without
gradients gives the loss of every region in a pool, NMS by loss drops those that overlap a region of higher loss, and
the worst of the rest are learnt from. The paper's pool is all 2,000 proposals, which costs several steps' time; our
default is smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import box_iou, nms

from ....pipelines.errors import InputError
from ...core.checks import check_count, check_least, check_threshold

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1

Sampler = Callable[[list[Tensor]], tuple[list[Tensor], list[Tensor]]]
"""Labels of each image, int64 [N], 1 and more for positives, 0 negatives, -1 ignored -> for each image the masks [N] of
the chosen positives, and of the chosen negatives: the signature of torchvision's BalancedPositiveNegativeSampler."""


def proper(boxes: Tensor) -> Tensor:
    """Which boxes [..., 4] have finite corners and a width and height above 0: bool [...]."""
    return boxes.isfinite().all(-1) & (boxes[..., 2:] > boxes[..., :2]).all(-1)


def match(
    candidates: Tensor, boxes: Tensor, *, high: float, low: float, low_quality: bool = False
) -> tuple[Tensor, Tensor]:
    """Which ground-truth box, of [K, 4], each candidate (anchor or region), of [N, 4], stands for: by the highest IoU.

    A candidate is positive at an IoU of `high` or more, negative below `low`, ignored between. low_quality: the best
    candidates of each box are positive too, however low their IoU is above 0. (torchvision's Matcher makes all
    candidates positive where a box overlaps none of them.)
    Returns labels int64 [N] (POSITIVE, NEGATIVE or IGNORED), and the number of each candidate's box, int64 [N]. Without
    boxes all are negative, and the numbers mean nothing.
    """
    if not len(boxes):
        nothing = torch.zeros(len(candidates), dtype=torch.long, device=candidates.device)
        return nothing, nothing
    iou = box_iou(boxes, candidates)
    best, matched = iou.max(0)
    labels = torch.full_like(matched, IGNORED)
    labels[best < low] = NEGATIVE
    labels[best >= high] = POSITIVE
    if low_quality and len(candidates):
        highest = iou.amax(1, keepdim=True)
        labels[((iou == highest) & (highest > 0)).any(0)] = POSITIVE
    return labels, matched


@dataclass(frozen=True, kw_only=True)
class ConstrainedConfig:
    """How many positives and negatives of each image a step learns from, with a constrained ratio."""

    positives: int = 128
    """Positives of an image, at most."""

    ratio: float = 1.5
    """Negatives for each positive, at most, unless `least` asks for more."""

    least: int = 32
    """Positives and negatives of an image together, at least; negatives fill up, as far as there are any."""

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
    """A Sampler with a constrained ratio; it draws from torch's random state, like torchvision's."""

    def __init__(self, config: ConstrainedConfig) -> None:
        self.config = config

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        # Positives of all images are drawn before any negatives: the order of the draws is part of a run's results.
        positives = [_some(of_image > NEGATIVE, self.config.positives) for of_image in labels]
        negatives = [
            _some(of_image == NEGATIVE, self.wanted_negatives(int(chosen.sum())))
            for of_image, chosen in zip(labels, positives, strict=True)
        ]
        return positives, negatives

    def wanted_negatives(self, positives: int) -> int:
        """How many negatives to choose beside this number of positives."""
        return max(math.floor(self.config.ratio * positives), self.config.least - positives)


def _some(mask: Tensor, count: int) -> Tensor:
    """`count` of the True entries at random, or all where there are fewer, as a mask."""
    candidates = mask.nonzero().flatten()
    chosen = torch.zeros_like(mask)
    chosen[candidates[torch.randperm(len(candidates), device=mask.device)[:count]]] = True
    return chosen


@dataclass(frozen=True, kw_only=True)
class OHEMConfig:
    """The pool of online hard example mining."""

    pool: int = 300
    """Proposals of each image whose loss is computed, besides its ground truth. The paper's number is 2000."""

    nms_threshold: float = 0.7
    """A region is dropped if its IoU with a region of higher loss is above this."""

    def __post_init__(self) -> None:
        check_count("pool", self.pool)
        check_threshold("nms_threshold", self.nms_threshold)


def hardest(regions: Tensor, losses: Tensor, keep: int, nms_threshold: float) -> Tensor:
    """Numbers int64 [at most keep] of the regions of one image to learn from, the highest loss first.

    regions: float32 [R, 4]; losses: float32 [R].
    """
    return nms(regions, losses, nms_threshold)[:keep]


@contextmanager
def read_only(*modules: nn.Module) -> Iterator[None]:
    """Run a block without gradients; the modules' buffers, such as the statistics of norms, are put back after it."""
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    with torch.no_grad():
        yield
        for buffer, before in kept:
            buffer.copy_(before)

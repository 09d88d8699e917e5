"""Which ground-truth box each anchor or region stands for: the one of the highest IoU, by two thresholds."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

POSITIVE, NEGATIVE, IGNORED = 1, 0, -1


def match(
    candidates: Tensor, boxes: Tensor, *, high: float, low: float, low_quality: bool = False
) -> tuple[Tensor, Tensor]:
    """Candidates float [N, 4] and ground truth float [K, 4], xyxy px -> labels int64 [N], numbers of boxes int64 [N].

    Positive at an IoU of `high` or more, negative below `low`, ignored between. `low_quality` makes the best candidates
    of each box positive too, however low their IoU is; a box that overlaps none has no best one, where torchvision's
    Matcher would make them all positive. Without boxes all are negative, and their numbers mean nothing.
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


def proper(boxes: Tensor) -> Tensor:
    """bool [...]: boxes [..., 4] of finite corners, with a width and a height above 0."""
    return boxes.isfinite().all(-1) & (boxes[..., 2:] > boxes[..., :2]).all(-1)

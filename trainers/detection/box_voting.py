"""Box voting (Gidaris and Komodakis, ICCV 2015): what survives suppression moves to where its neighbours agree.

Each survivor becomes the score-weighted mean of the boxes of its class from before suppression that overlap it by an
IoU of t or more, itself among them. t is 0.5 in the paper, 0.8 in Detectron. Scores and classes stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from .detections import Detections


def voted(survivors: Detections, candidates: Detections, iou_threshold: float = 0.5) -> Tensor:
    """float [M, 4]: the boxes of M survivors after the vote of N candidates, on their device; computed in float64.

    candidates: what suppression was given, scores 0 or more. A survivor stays where it is if nothing votes for it: it
    has no area, or all scores are 0.
    """
    boxes = candidates.boxes.double()
    overlaps = box_iou(survivors.boxes.double(), boxes) >= iou_threshold
    votes = torch.where(overlaps & (survivors.classes[:, None] == candidates.classes), candidates.scores.double(), 0.0)
    total = votes.sum(1, keepdim=True)
    means = (votes @ boxes / total).to(survivors.boxes.dtype)
    return torch.where(total > 0, means, survivors.boxes)

"""Which detections of one image are right, by the rules of PASCAL VOC's development kit.

A detection belongs to the object of its class that it overlaps most, the first of several, if their IoU is above the
threshold. Of the detections that belong to one object the one of the highest score, the first of equal ones, is right,
the others are wrong; those that belong to a difficult object do not count at all. Continuous edges need no "+ 1": a box
of whole pixels has the same area here as in the kit, which counts its last pixel as inside.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from ..detection.detections import Detections, GroundTruth


class Judgement(NamedTuple):
    """A detection is right, ignored, or else wrong."""

    right: Tensor
    """bool [D]."""
    ignored: Tensor
    """bool [D]: belongs to a difficult object."""
    missed: Tensor
    """bool [G]: objects, not difficult, to which no detection belongs."""


def judged(detections: Detections, objects: GroundTruth, iou_threshold: float = 0.5) -> Judgement:
    """Of one image, on the CPU; D and G may be 0."""
    owner = _owners(detections, objects, iou_threshold)
    order = detections.scores.argsort(descending=True, stable=True)
    owners, first = np.unique(owner[order].numpy(), return_index=True)
    right = torch.zeros(len(owner), dtype=torch.bool)
    right[order[torch.from_numpy(first[owners >= 0])]] = True
    ignored = torch.cat([objects.difficult, torch.tensor([False])])[owner]  # the last for those without an owner, -1
    missed = ~objects.difficult
    missed[owner[owner >= 0]] = False
    return Judgement(right & ~ignored, ignored, missed)


def _owners(detections: Detections, objects: GroundTruth, iou_threshold: float) -> Tensor:
    """int64 [D]: the object that each detection belongs to, -1 for none."""
    if not len(objects.boxes):
        return torch.full_like(detections.classes, -1)
    iou = box_iou(detections.boxes.double(), objects.boxes.double()).nan_to_num(0)  # two boxes without area: 0 / 0
    iou = iou.masked_fill(detections.classes[:, None] != objects.classes, -1)
    owner = iou.argmax(1)
    return owner.masked_fill(~(iou.gather(1, owner[:, None])[:, 0] > iou_threshold), -1)

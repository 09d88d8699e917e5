"""The objects that an image holds, and the detections made in it, as every part of detection hands them on.

Boxes are xyxy pixels as the stores have them: continuous edges, so a box over a whole image is 0, 0, width, height.
They are those of the oriented original image unless a function says otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class GroundTruth(NamedTuple):
    """The truth about one image: G objects, perhaps none."""

    boxes: Tensor
    """float [G, 4]."""
    classes: Tensor
    """int64 [G], places in the class names."""
    difficult: Tensor
    """bool [G]: neither missed where it is not found nor wrong where it is; VOC's difficult, COCO's iscrowd."""


class Detections(NamedTuple):
    """What is found in one image: D detections, perhaps none, in any order."""

    boxes: Tensor
    """float [D, 4]."""
    scores: Tensor
    """float [D], higher for more certain."""
    classes: Tensor
    """int64 [D], places in the class names; 0 for proposals."""


def no_detections() -> Detections:
    """Of an image in which nothing is found."""
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


class Scored(NamedTuple):
    """What is said of R proposals of one image, R from 0 up."""

    proposals: Tensor
    """float [R, 4], the best first."""
    scores: Tensor
    """float [R], of the proposals."""
    softmax: Tensor
    """float [R, C + 1], the background last."""
    boxes: Tensor
    """float [R, C, 4], for each class its own, not clipped."""

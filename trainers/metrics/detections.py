"""The objects that an image holds, and the detections in it, as metrics and detectors pass them on.

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
    """int64 [G], indices of the class names."""
    difficult: Tensor
    """bool [G]: whether the object does not count: neither missing it nor detecting it is an error. VOC calls such
    objects difficult, COCO iscrowd."""
    areas: Tensor | None = None
    """float64 [G], px²: of the objects' outlines, where they are known; None: those of the boxes."""


class Detections(NamedTuple):
    """The detections in one image: D of them, perhaps none, in any order."""

    boxes: Tensor
    """float [D, 4]."""
    scores: Tensor
    """float [D], higher for more certain."""
    classes: Tensor
    """int64 [D], indices of the class names; 0 for proposals."""


def no_detections() -> Detections:
    """The detections of an image without any."""
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))

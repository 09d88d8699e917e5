"""PASCAL VOC's average precision: which detections are right, and the precision over the recall.

Rules of the development kit (VOCevaldet and VOCap), for each class:

- A detection is assigned to the object of its class that it overlaps most, the first of several, if their IoU is above
  the threshold. (The kit's code asks for IoU >= threshold, the challenge's text, and this code, for more than it.)
- Of the detections assigned to one object the one with the highest score, the first of equal ones, is right and the
  others are wrong. Detections assigned to a difficult object do not count at all.
- Precision and recall run down the detections by score. Of equal scores the lower image number comes first, then the
  earlier detection of the image.
- Average precision is the mean over 11 recalls up to 2009 (VOC 2007), the area under the curve since 2010.

Boxes have continuous edges and need no "+ 1": a box of whole pixels has the same area here as in the kit, which counts
its last pixel as inside.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from .detections import DetectionRecord, Detections, GroundTruth


def voc_ap(record: DetectionRecord, classes: int, iou_threshold: float = 0.5) -> dict[str, Any]:
    """Average precisions in [0, 1]; difficult objects do not count as objects.

    Returns `map` and `map_11_point`, the means over the classes that have objects, None where no class has; `per_class`
    and `per_class_11_point`, lists of K, None for a class without objects; `objects`, the number in each class.
    """
    rows, objects = _judged_rows(record, iou_threshold), np.zeros(classes, np.int64)
    regular = record.objects[record.objects[:, 2] == 0]
    np.add.at(objects, regular[:, 1].long().numpy(), 1)
    curves = [rows[rows[:, 0] == label, 2] > 0 for label in range(classes)]
    areas = [area_ap(hits, int(count)) if count else None for hits, count in zip(curves, objects, strict=True)]
    points = [eleven_point_ap(hits, int(count)) if count else None for hits, count in zip(curves, objects, strict=True)]
    return {
        "map": _mean(areas),
        "map_11_point": _mean(points),
        "per_class": areas,
        "per_class_11_point": points,
        "objects": objects.tolist(),
    }


def area_ap(hits: np.ndarray, objects: int) -> float:
    """The area under the precision, made monotone, over the recall; hits: bool [D] by falling score."""
    right = hits.cumsum()
    recall = np.concatenate([[0], right / objects])
    precision = _monotone(right / np.arange(1, len(hits) + 1))
    return float((np.diff(recall) * precision).sum())


def eleven_point_ap(hits: np.ndarray, objects: int) -> float:
    """The mean over r = 0, 0.1, ..., 1 of the highest precision at a recall of r or more; hits: bool [D] by falling
    score.

    Recalls are compared as fractions, so 3 of 10 objects do reach 0.3.
    """
    right = hits.cumsum()
    precision = np.append(_monotone(right / np.arange(1, len(hits) + 1)), 0)
    return float(precision[np.searchsorted(10 * right, objects * np.arange(11))].mean())


class Judgement(NamedTuple):
    """A detection is right, ignored, or else wrong."""

    right: Tensor
    """bool [D]."""
    ignored: Tensor
    """bool [D]: assigned to a difficult object."""
    missed: Tensor
    """bool [G]: objects, not difficult, to which no detection is assigned."""


def judged(detections: Detections, objects: GroundTruth, iou_threshold: float = 0.5) -> Judgement:
    """Which of the D detections of one image are right, and which of its G objects are missed.

    Tensors are on the CPU; D and G may be 0.
    """
    assigned = _assigned(detections, objects, iou_threshold)
    order = detections.scores.argsort(descending=True, stable=True)
    numbers, first = np.unique(assigned[order].numpy(), return_index=True)
    right = torch.zeros(len(assigned), dtype=torch.bool)
    right[order[torch.from_numpy(first[numbers >= 0])]] = True
    ignored = torch.cat([objects.difficult, torch.tensor([False])])[assigned]  # -1, for no object, reads the last entry
    missed = ~objects.difficult
    missed[assigned[assigned >= 0]] = False
    return Judgement(right & ~ignored, ignored, missed)


def _assigned(detections: Detections, objects: GroundTruth, iou_threshold: float) -> Tensor:
    """The number of the object that each detection is assigned to, int64 [D], -1 for none."""
    if not len(objects.boxes):
        return torch.full_like(detections.classes, -1)
    iou = box_iou(detections.boxes.double(), objects.boxes.double()).nan_to_num(0)  # two boxes without area: 0 / 0
    iou = iou.masked_fill(detections.classes[:, None] != objects.classes, -1)
    highest, number = iou.max(1)
    return number.masked_fill(~(highest > iou_threshold), -1)


def _judged_rows(record: DetectionRecord, iou_threshold: float) -> np.ndarray:
    """float64 [D, 3]: class, score, right, by falling score; ignored detections are left out."""
    rows = [np.zeros((0, 3))]
    for _, detections, objects in record.by_image():
        right, ignored, _ = judged(detections, objects, iou_threshold)
        rows.append(np.stack([detections.classes, detections.scores, right], 1)[~ignored.numpy()])
    all_rows = np.concatenate(rows)
    return all_rows[np.argsort(-all_rows[:, 1], kind="stable")]


def _monotone(precision: np.ndarray) -> np.ndarray:
    """The highest precision at this recall or above."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""Average precision as PASCAL VOC defines it: the mean of 11 points up to 2009 (VOC 2007), the area since 2010.

Which detections are right: see matching. Precision and recall run down the detections of a class by score; of equal
scores the lower image number comes first, then the earlier detection of the image. Source: VOCevaldet and VOCap of the
development kit; the kit asks for IoU >= the threshold, the challenge's text, and this, for more than it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .detection_record import DetectionRecord
from .matching import judged


def voc_ap(record: DetectionRecord, classes: int, iou_threshold: float = 0.5) -> dict[str, Any]:
    """Average precisions in [0, 1]: map and map_11_point, the means over the classes that have objects, None where
    none has; per_class and per_class_11_point, lists of K, None for a class without objects; objects, list of K.

    Difficult objects are no objects here, and what belongs to them is neither right nor wrong.
    """
    found, objects = _judged_rows(record, iou_threshold), np.zeros(classes, np.int64)
    regular = record.objects[record.objects[:, 2] == 0]
    np.add.at(objects, regular[:, 1].long().numpy(), 1)
    curves = [_hits(found, place) for place in range(classes)]
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
    """The mean of the highest precision at a recall of 0, 0.1, ..., 1 at least; hits: bool [D] by falling score.

    Recalls are compared as fractions, so 3 of 10 objects do reach 0.3.
    """
    right = hits.cumsum()
    precision = np.append(_monotone(right / np.arange(1, len(hits) + 1)), 0)
    return float(precision[np.searchsorted(10 * right, objects * np.arange(11))].mean())


def _monotone(precision: np.ndarray) -> np.ndarray:
    """The highest precision at this recall or above."""
    return np.maximum.accumulate(precision[::-1])[::-1]


def _judged_rows(record: DetectionRecord, iou_threshold: float) -> np.ndarray:
    """float64 [D, 3]: class, score, right; without those that are ignored, by falling score."""
    rows = [np.zeros((0, 3))]
    for _, detections, objects in record.by_image():
        right, ignored, _ = judged(detections, objects, iou_threshold)
        rows.append(np.stack([detections.classes, detections.scores, right], 1)[~ignored.numpy()])
    all_rows = np.concatenate(rows)
    return all_rows[np.argsort(-all_rows[:, 1], kind="stable")]


def _hits(rows: np.ndarray, place: int) -> np.ndarray:
    """bool [D]: of one class."""
    return rows[rows[:, 0] == place, 2] > 0


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""COCO's average precision, computed by pycocotools, without its printing.

What COCO does not say of our stores is said here. Areas, which small, medium and large go by, are those of the boxes;
in COCO's own files they are those of the outlines, which are smaller. Difficult objects are COCO's crowds: not to be
found, and of the detections those that lie in one by the threshold (as a share of their own area) do not count.
Detections of equal score go by image number, then by their place in the image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .detection_record import DetectionRecord

DETECTIONS = (1, 10, 100)  # an image and class, the last counts in average precision
ALL, SMALL, MEDIUM, LARGE = range(4)  # areas: below 32 x 32 px, up to 96 x 96, above


def coco_ap(record: DetectionRecord, classes: int) -> dict[str, Any]:
    """Average precisions in [0, 1]: ap (mean over IoU 0.5, 0.55, ..., 0.95), ap50, ap75, ap_small, ap_medium,
    ap_large; per_class and per_class_50, lists of K, of ap and ap50. None where there is no object to be found.
    """
    if not len(record.images):  # pycocotools needs one
        return {**dict.fromkeys(_NAMES), "per_class": [None] * classes, "per_class_50": [None] * classes}
    evaluation = coco_evaluation(record, classes, use_classes=True, detections=DETECTIONS)
    precision = evaluation.eval["precision"][..., -1]  # thresholds, recalls, classes, areas
    parts = (precision[..., ALL], precision[0, :, :, ALL], precision[5, :, :, ALL])
    areas = [precision[..., area] for area in (SMALL, MEDIUM, LARGE)]
    return {
        **{name: mean_known(part) for name, part in zip(_NAMES, [*parts, *areas], strict=True)},
        "per_class": [mean_known(precision[:, :, place, ALL]) for place in range(classes)],
        "per_class_50": [mean_known(precision[0, :, place, ALL]) for place in range(classes)],
    }


_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def coco_evaluation(record: DetectionRecord, classes: int, *, use_classes: bool, detections: Sequence[int]) -> COCOeval:
    """pycocotools' evaluation of at least one image, accumulated: its `eval` holds precision [T, R, K, A, M] and recall
    [T, K, A, M], -1 where there is no object; detections: how many of an image count, M ascending numbers.
    """
    about = {
        "images": [{"id": image} for image in record.images.tolist()],
        "categories": [{"id": place} for place in range(classes)],
    }
    held = [
        {**_annotation(number, image, place, box), "iscrowd": int(difficult)}
        for number, (image, place, difficult, *box) in enumerate(record.objects.tolist(), 1)
    ]
    made = [
        {**_annotation(number, image, place, box), "score": score}
        for number, (image, place, score, *box) in enumerate(record.detections.tolist(), 1)
    ]
    with redirect_stdout(io.StringIO()):
        truth, found = (_coco({**about, "annotations": annotations}) for annotations in (held, made))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.params.useCats, evaluation.params.maxDets = int(use_classes), list(detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def mean_known(values: np.ndarray) -> float | None:
    """The mean of what is not -1, pycocotools' mark for no object; None where nothing is known."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None


def _coco(dataset: Any) -> COCO:
    """dataset: as in an annotation file, of which pycocotools declares more keys than its evaluation reads."""
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _annotation(number: int, image: float, place: float, box: Sequence[float]) -> dict[str, Any]:
    """number: from 1, for pycocotools takes 0 as no match."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    where = {"image_id": int(image), "category_id": int(place), "bbox": [left, top, width, height]}
    return {"id": number, **where, "area": width * height}

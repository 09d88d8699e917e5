"""COCO's average precision of detections, and its average recall of proposals, both computed by pycocotools.

Three things that COCO leaves open are decided here:

- Small, medium and large go by the areas of the objects' outlines, which COCO's own files have, and without outlines by
  those of the boxes, which are larger.
- Difficult objects are COCO's crowds: they need not be detected, and detections that lie in one (by the IoU threshold,
  as a share of the detection's area) do not count.
- Among detections of equal score the lower image number comes first, then the earlier detection of the image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .detections import DetectionRecord

DETECTIONS = (1, 10, 100)  # per image and class; average precision takes the last
ALL, SMALL, MEDIUM, LARGE = range(4)  # areas: below 32 x 32 px, up to 96 x 96, above
_NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def coco_ap(record: DetectionRecord, classes: int) -> dict[str, Any]:
    """Average precisions in [0, 1], None where there are no objects.

    Returns `ap` (mean over IoU 0.5, 0.55, ..., 0.95), `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large`; `per_class`
    and `per_class_50`, lists of K, of ap and ap50.
    """
    if not len(record.images):  # pycocotools needs one
        return {**dict.fromkeys(_NAMES), "per_class": [None] * classes, "per_class_50": [None] * classes}
    # Thresholds, recalls, classes, areas.
    precision = _evaluation(record, classes, DETECTIONS).eval["precision"][..., -1]
    parts = (precision[..., ALL], precision[0, :, :, ALL], precision[5, :, :, ALL])
    areas = [precision[..., area] for area in (SMALL, MEDIUM, LARGE)]
    return {
        **{name: _mean_known(part) for name, part in zip(_NAMES, [*parts, *areas], strict=True)},
        "per_class": [_mean_known(precision[:, :, label, ALL]) for label in range(classes)],
        "per_class_50": [_mean_known(precision[0, :, label, ALL]) for label in range(classes)],
    }


def proposal_recall(record: DetectionRecord, limit: int = 300) -> dict[str, Any]:
    """The share of the objects that the proposals cover, whatever the class: COCO's recall with useCats=0.

    Every proposal is assigned, by falling score, to the object that it overlaps most of those not yet taken, if the
    overlap reaches the threshold. Difficult objects are left out. limit: how many proposals of an image count, those
    with the highest scores.
    Returns shares in [0, 1]: `recall50` and `recall70` (at IoU 0.5 and 0.7), `ar` (mean over IoU 0.5, 0.55, ..., 0.95);
    None without objects.
    """
    if not len(record.images):
        return {"recall50": None, "recall70": None, "ar": None}
    objects, detections = record.objects.clone(), record.detections.clone()
    objects[:, 1] = detections[:, 1] = 0
    one_class = DetectionRecord(record.images, objects, detections)
    recall = _evaluation(one_class, None, [limit]).eval["recall"][:, 0, 0, 0]  # by threshold; all areas
    return {"recall50": _mean_known(recall[:1]), "recall70": _mean_known(recall[4:5]), "ar": _mean_known(recall)}


def _evaluation(record: DetectionRecord, classes: int | None, detections: Sequence[int]) -> COCOeval:
    """pycocotools' evaluation of one image or more: precision [T, R, K, A, M] and recall [T, K, A, M], -1 for unknown.

    classes: None to take no account of classes; detections: how many of an image count, M ascending numbers.
    """
    about = {
        "images": [{"id": image} for image in record.images.tolist()],
        "categories": [{"id": label} for label in range(classes or 1)],
    }
    objects = [
        {**_annotation(number, image, label, box), "area": area, "iscrowd": int(difficult)}
        for number, (image, label, difficult, *box, area) in enumerate(record.objects.tolist(), 1)
    ]
    scored = [
        {**_annotation(number, image, label, box), "score": score}
        for number, (image, label, score, *box) in enumerate(record.detections.tolist(), 1)
    ]
    with redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth, predicted = (_coco({**about, "annotations": annotations}) for annotations in (objects, scored))
        evaluation = COCOeval(truth, predicted, "bbox")
        evaluation.params.useCats, evaluation.params.maxDets = int(classes is not None), list(detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _coco(dataset: Any) -> COCO:
    """The contents of an annotation file as pycocotools' object; only the keys that the evaluation reads are needed."""
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _annotation(number: int, image: float, label: float, box: Sequence[float]) -> dict[str, Any]:
    """An object or detection as in an annotation file; numbers count from 1, as pycocotools takes 0 as no match."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    where = {"image_id": int(image), "category_id": int(label), "bbox": [left, top, width, height]}
    return {"id": number, **where, "area": width * height}


def _mean_known(values: np.ndarray) -> float | None:
    """The mean of what is not -1, pycocotools' mark for no objects; None where nothing is known."""
    known = values[values > -1]
    return float(known.mean()) if known.size else None

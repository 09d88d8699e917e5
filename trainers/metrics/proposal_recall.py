"""How many objects the proposals find: recall at two overlaps, and average recall, whatever the class.

pycocotools' recall with useCats=0: every proposal goes, by falling score, to the object that it overlaps most of those
not taken, from the threshold on. Difficult objects are not asked for.
"""

from __future__ import annotations

from typing import Any

from .coco_ap import coco_evaluation, mean_known
from .detection_record import DetectionRecord


def proposal_recall(record: DetectionRecord, limit: int = 300) -> dict[str, Any]:
    """Shares of the objects in [0, 1]: recall50 and recall70 (found at IoU 0.5 and 0.7), ar (mean over IoU 0.5, 0.55,
    ..., 0.95); each None without objects. limit: as many proposals of an image count, those of the highest scores.

    record: of proposals; their classes and the objects' are left out of account.
    """
    if not len(record.images):
        return {"recall50": None, "recall70": None, "ar": None}
    objects, detections = record.objects.clone(), record.detections.clone()
    objects[:, 1] = detections[:, 1] = 0
    one_class = DetectionRecord(record.images, objects, detections)
    evaluation = coco_evaluation(one_class, 1, use_classes=False, detections=[limit])
    recall = evaluation.eval["recall"][:, 0, 0, 0]  # by threshold; all areas
    return {"recall50": mean_known(recall[:1]), "recall70": mean_known(recall[4:5]), "ar": mean_known(recall)}

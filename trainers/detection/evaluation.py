"""What detectors find in whole images, at several scales, mirrored, by several networks, and how right that is.

The proposals of all are fused, every one of them scores the same ones, and scores and boxes are averaged (see
detection_fusion): one network and one view are the least of it. Boxes are in the original's pixels throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...pipelines.store.reader import ImageStore
from ..core.distributed import Ranks
from ..core.machine import autocast
from ..core.signals import Stopped
from ..metrics.coco_ap import coco_ap, proposal_recall
from ..metrics.detection_record import DetectionRecord
from ..metrics.voc_ap import voc_ap
from ..models.detection.detector import Detector
from .config import DetectionRules
from .detections import Detections, GroundTruth, Scored
from .fusion import averaged, final_detections, fused_proposals
from .views import View


class Records(NamedTuple):
    """Of the same images."""

    detections: DetectionRecord
    proposals: DetectionRecord
    """All of class 0."""


class _Look(NamedTuple):
    """One network's features of one view of a batch."""

    model: Detector
    features: Any
    sizes: Tensor
    views: list[View]


@torch.inference_mode()
def record_detections(
    models: Sequence[Detector],
    batches: Iterable[Sequence[dict[str, Any]]],
    *,
    store: ImageStore,
    rules: DetectionRules,
    ranks: Ranks,
    precision: str,
    stop: Callable[[], int] = lambda: 0,
) -> Records:
    """What is found in all ranks' batches, on each rank, on the CPU; the models are in evaluation mode afterwards.

    batches: of test loaders, the same images in each view; each image in exactly one batch of one rank, which may be
    empty. stop: asked after each batch, the same answer on every rank; a signal's number raises Stopped.
    """
    for model in models:
        model.eval()
    images: list[int] = []
    found: list[tuple[Detections, Detections]] = []
    for views in batches:
        if len(views[0]["index"]):
            images += views[0]["index"].tolist()
            with autocast(ranks.device, precision):
                found += find(models, views, rules, ranks.device)
        if number := stop():
            raise Stopped(number)
    objects = [truth_of(store, image) for image in images]
    detections, proposals = ([pair[part] for pair in found] for part in (0, 1))
    return Records(
        _gathered(DetectionRecord.of(images, detections, objects), ranks),
        _gathered(DetectionRecord.of(images, proposals, objects), ranks),
    )


def find(
    models: Sequence[Detector], batches: Sequence[dict[str, Any]], rules: DetectionRules, device: torch.device
) -> list[tuple[Detections, Detections]]:
    """Detections, and the proposals they were chosen from, in each image of a batch that is given in several views."""
    found = []
    for original, scored in zip(_originals(batches[0]), score(models, batches, rules, device), strict=True):
        detections = final_detections(
            scored.softmax,
            scored.boxes,
            original,
            score_threshold=rules.score_threshold,
            nms_threshold=rules.nms,
            limit=rules.detections,
            voting_threshold=rules.voting,
        )
        boxes, scores = scored.proposals, scored.scores
        proposals = Detections(boxes, scores, torch.zeros_like(scores, dtype=torch.int64))
        found.append((_on_cpu(detections), _on_cpu(proposals)))
    return found


def score(
    models: Sequence[Detector], batches: Sequence[dict[str, Any]], rules: DetectionRules, device: torch.device
) -> list[Scored]:
    """What all models say of the proposals that they share, in each image of a batch that is given in several views."""
    looks = [_look(model, batch, device) for batch in batches for model in models]
    proposed = [look.model.proposals(look.features, look.sizes) for look in looks]
    fused = []
    for image in range(len(batches[0]["index"])):
        parts = [(look.views[image].to_original(own[image][0]), own[image][1])
                 for look, own in zip(looks, proposed, strict=True)]  # fmt: skip
        fused.append(fused_proposals(parts, nms_threshold=rules.proposal_nms, limit=rules.proposals))
    said = []
    for look in looks:
        regions = [view.from_original(boxes) for view, (boxes, _) in zip(look.views, fused, strict=True)]
        said.append(look.model.classify(look.features, regions, look.sizes))
    scored = []
    for image, (boxes, scores) in enumerate(fused):
        views = [(own[image].scores, look.views[image].to_original(own[image].boxes))
                 for look, own in zip(looks, said, strict=True)]  # fmt: skip
        softmax, moved = averaged(views)
        scored.append(Scored(boxes, scores, softmax, moved))
    return scored


def figures(records: Records, classes: Sequence[str], rules: DetectionRules) -> dict[str, Any]:
    """Plain JSON: `ap`, `ap50`, `ap75`, `ap_small`, `ap_medium`, `ap_large` (COCO), `voc_map` (area),
    `voc_map_11_point`, `recall50`, `recall70`, `ar` (of proposals), and `per_class`: of each by name `ap`, `ap50`,
    `voc_ap`, `voc_ap_11_point` and `objects`. None where there is no object.
    """
    coco, voc = coco_ap(records.detections, len(classes)), voc_ap(records.detections, len(classes))
    each = {
        "ap": coco.pop("per_class"),
        "ap50": coco.pop("per_class_50"),
        "voc_ap": voc["per_class"],
        "voc_ap_11_point": voc["per_class_11_point"],
        "objects": voc["objects"],
    }
    return {
        **coco,
        "voc_map": voc["map"],
        "voc_map_11_point": voc["map_11_point"],
        **proposal_recall(records.proposals, rules.proposals),
        "per_class": {name: {key: of_all[k] for key, of_all in each.items()} for k, name in enumerate(classes)},
    }


def truth_of(store: ImageStore, image: int) -> GroundTruth:
    """The objects of one image, in the original's pixels."""
    boxes = store.boxes(image)
    return GroundTruth(*(torch.from_numpy(part) for part in (boxes.xyxy, boxes.labels, boxes.difficult)))


def _look(model: Detector, batch: dict[str, Any], device: torch.device) -> _Look:
    flips, sizes = batch["plan"]["flip"].tolist(), batch["size"]
    views = [
        View(original=original, size=tuple(size), mirrored=bool(flip))
        for original, size, flip in zip(_originals(batch), sizes.tolist(), flips, strict=True)
    ]
    return _Look(model, model.features(batch["image"].to(device, non_blocking=True)), sizes, views)


def _originals(batch: dict[str, Any]) -> list[tuple[int, int]]:
    """Heights and widths of a batch's images as they are in the store."""
    return [(height, width) for height, width in batch["original_size"].tolist()]


def _on_cpu(found: Detections) -> Detections:
    return Detections(*(part.cpu() for part in found))


def _gathered(record: DetectionRecord, ranks: Ranks) -> DetectionRecord:
    parts = (record.images, record.objects, record.detections)
    return DetectionRecord(*(ranks.gathered(part.to(ranks.device)).cpu() for part in parts))

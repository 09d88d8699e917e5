"""Evaluating detectors on whole images, at several scales, mirrored, with several networks.

The proposals of all are pooled, every network scores the same ones in every view, and scores and boxes are averaged
(see fusion). Boxes are in the pixels of the original image unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...pipelines.detection import test_loader
from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from ..core.evaluation import Evaluation, opened_evaluation, written_files
from ..core.pictures import decoded, shown_samples
from ..core.process import Process
from ..core.progress import Stopwatch
from ..metrics.coco_ap import coco_ap, proposal_recall
from ..metrics.detections import DetectionRecord, Detections, GroundTruth
from ..metrics.voc_ap import voc_ap
from ..models.detection.detector import Detector
from .config import DetectionRules, EvaluateConfig
from .fusion import Scored, View, averaged, final_detections, fused_proposals
from .pictures import DetectionPicture, save_detection_pictures
from .predictions import check_image_ids, write_predictions


def evaluate(config: EvaluateConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Evaluate trained detectors on a store, all networks and views fused.

    Returns plain JSON: what `figures` returns, the thresholds and limits of DetectionRules; `checkpoints`, `scales`
    (px), `longer_sides` (px), `flip`, `images`, `images_per_second`; `predictions` and `picture` where they were
    written. Raises InputError for what cannot be used or does not fit together.
    """
    check_outputs(config, "predictions", "picture")
    with opened_evaluation(config, config.checkpoint, task="detection", check_store=check_objects) as evaluation:
        store, process = evaluation.store, evaluation.process
        if config.predictions is not None:
            check_image_ids(store)
        loaders, sides = view_loaders(evaluation, scales=config.scales, flip=config.flip)
        stopwatch = Stopwatch()
        records = record_detections(
            evaluation.modules,
            evaluation.batches(loaders, progress),
            store=store,
            rules=config.rules,
            process=process,
        )
        seconds, _ = stopwatch.lap()
        result = figures(records, store.classes, config.rules)
        if process.is_first and config.predictions is not None:
            write_predictions(config.predictions, records.detections, store, overwrite=config.overwrite)
        if process.is_first and config.picture is not None:
            _draw(config.picture, config, records.detections, store)
    return {
        **result,
        **vars(config.rules),
        "checkpoints": [str(path) for path in config.checkpoint],
        **sides,
        "flip": config.flip,
        "images": len(store),
        "images_per_second": len(store) / seconds,
        **written_files(config, "predictions", "picture"),
    }


def view_loaders(
    evaluation: Evaluation, *, scales: Sequence[int], flip: bool
) -> tuple[list[Loader], dict[str, list[int]]]:
    """The loaders of an evaluation of detectors, and its `scales` (px) and `longer_sides` (px; they grow with these).

    There is one for each scale, and one for its mirror images: one image at a time, so that none is padded because of
    another. scales: () for that of the evaluations in the first network's training.
    """
    first = evaluation.networks[0].contents
    scales = list(scales) or [first["shorter_side"]]
    longer = [round(first["longer_side"] * max(side / first["shorter_side"], 1)) for side in scales]
    loaders = [
        evaluation.loader(test_loader, shorter_side=shorter_side, longer_side=longer_side, flip=mirrored)
        for shorter_side, longer_side in zip(scales, longer, strict=True)
        for mirrored in (False, True)[: 1 + flip]
    ]
    return loaders, {"scales": scales, "longer_sides": longer}


def check_objects(store: ImageStore) -> None:
    """Raise InputError unless the store has an object that is not difficult."""
    if not store.has_boxes:
        raise InputError(
            f"{store.path} has no boxes; build it with sdali build --format voc, coco or ilsvrc-loc, or --annotations"
        )
    if store.objects().difficult.all():
        raise InputError(f"{store.path} has no object that is to be found; build it from images with objects")


class Records(NamedTuple):
    """The detections and the proposals in the same images; proposals are all of class 0."""

    detections: DetectionRecord
    proposals: DetectionRecord


class _Features(NamedTuple):
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
    process: Process,
) -> Records:
    """The detections in all ranks' batches, on each rank, on the CPU; the models are in evaluation mode afterwards.

    batches: of test loaders, the same images in each view; each image is in exactly one batch of one rank, which may be
    empty.
    """
    for model in models:
        model.eval()
    images: list[int] = []
    pairs: list[tuple[Detections, Detections]] = []
    for views in batches:
        if len(views[0]["index"]):
            images += views[0]["index"].tolist()
            with process.autocast():
                pairs += detect(models, views, rules, process.device)
    objects = [truth_of(store, image) for image in images]
    detections, proposals = ([pair[part] for pair in pairs] for part in (0, 1))
    return Records(
        _gathered(DetectionRecord.of(images, detections, objects), process),
        _gathered(DetectionRecord.of(images, proposals, objects), process),
    )


def detect(
    models: Sequence[Detector], batches: Sequence[dict[str, Any]], rules: DetectionRules, device: torch.device
) -> list[tuple[Detections, Detections]]:
    """Detections, and the proposals they were chosen from, in each image of a batch that is given in several views."""
    pairs = []
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
        proposals = Detections(scored.proposals, scored.scores, torch.zeros_like(scored.scores, dtype=torch.int64))
        pairs.append((_on_cpu(detections), _on_cpu(proposals)))
    return pairs


def score(
    models: Sequence[Detector], batches: Sequence[dict[str, Any]], rules: DetectionRules, device: torch.device
) -> list[Scored]:
    """The proposals of each image, shared and classified by all models; the batch is given in several views."""
    seen = [_features(model, batch, device) for batch in batches for model in models]
    proposed = [one.model.proposals(one.features, one.sizes) for one in seen]
    fused = []
    for image in range(len(batches[0]["index"])):
        parts = [(one.views[image].to_original(proposals[image][0]), proposals[image][1])
                 for one, proposals in zip(seen, proposed, strict=True)]  # fmt: skip
        fused.append(fused_proposals(parts, nms_threshold=rules.proposal_nms, limit=rules.proposals))
    classified = []
    for one in seen:
        regions = [view.from_original(boxes) for view, (boxes, _) in zip(one.views, fused, strict=True)]
        classified.append(one.model.classify(one.features, regions, one.sizes))
    scored = []
    for image, (boxes, scores) in enumerate(fused):
        views = [(regions[image].scores, one.views[image].to_original(regions[image].boxes))
                 for one, regions in zip(seen, classified, strict=True)]  # fmt: skip
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
    """The objects of one image."""
    boxes = store.boxes(image)
    parts = boxes.xyxy, boxes.labels, boxes.difficult, boxes.object_areas()
    return GroundTruth(*(torch.from_numpy(np.array(part)) for part in parts))


def _features(model: Detector, batch: dict[str, Any], device: torch.device) -> _Features:
    flips, sizes = batch["plan"]["flip"].tolist(), batch["size"]
    views = [
        View(original=original, size=tuple(size), mirrored=bool(flip))
        for original, size, flip in zip(_originals(batch), sizes.tolist(), flips, strict=True)
    ]
    return _Features(model, model.features(batch["image"].to(device, non_blocking=True)), sizes, views)


def _originals(batch: dict[str, Any]) -> list[tuple[int, int]]:
    """Heights and widths of a batch's images as they are in the store."""
    return [(height, width) for height, width in batch["original_size"].tolist()]


def _on_cpu(detections: Detections) -> Detections:
    return Detections(*(part.cpu() for part in detections))


def _gathered(record: DetectionRecord, process: Process) -> DetectionRecord:
    parts = (record.images, record.objects, record.detections)
    return DetectionRecord(*(process.gathered(part.to(process.device)).cpu() for part in parts))


def _draw(path: Path, config: EvaluateConfig, record: DetectionRecord, store: ImageStore) -> None:
    shown = set(shown_samples(store).tolist())
    pictures = [
        DetectionPicture(store.names[image], decoded(store, image), detections, objects)
        for image, detections, objects in record.by_image()
        if image in shown
    ]
    save_detection_pictures(path, pictures, store.classes, least_score=config.picture_score, overwrite=config.overwrite)

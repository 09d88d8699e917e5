"""Testing trained detectors: scales, mirror images, several networks; figures by class, predictions, a picture."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..pipelines.detection import test_loader
from ..pipelines.progress import Track, silent
from ..pipelines.store_read import ImageStore
from .classes import check_same_classes
from .classification_test import common_statistics
from .coco_predictions import write_coco_predictions
from .detection_checkpoint import load_detector
from .detection_config import EvaluateConfig
from .detection_evaluation import Records, figures, record_detections
from .detection_job import check_objects
from .detection_pictures import DetectionPicture, save_detection_pictures
from .detections import Detections
from .distributed import Ranks, process_group
from .machine import resolve_precision, threads_per_rank, torch_settings
from .metrics.detection_record import DetectionRecord
from .models.detector import Detector
from .parsing_pictures import shown_samples

SHOWN = 0.5  # least score of a detection that is drawn


def evaluate(config: EvaluateConfig, progress: Track = silent) -> dict[str, Any]:
    """How trained detectors do on a store, all networks and views fused; images go one by one, so that none is padded
    for the sake of another.

    Returns plain JSON: what detection_evaluation.figures has, its thresholds and limits as in DetectionRules;
    `checkpoints`, `scales` (px), `longer_sides` (px), `flip`, `images`, `images_per_second`; `predictions` and
    `picture` where they were written. Raises InputError for what cannot be used or does not fit together.
    """
    with process_group(config.device) as ranks:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads):
            models, contents = zip(*(load_detector(path, ranks.device) for path in config.checkpoint), strict=True)
            store, first = ImageStore(config.store), contents[0]
            check_objects(store)
            for path, saved in zip(config.checkpoint, contents, strict=True):
                check_same_classes(store, saved["classes"], path)
            scales = config.scales or (first["shorter_side"],)
            longer = [round(first["longer_side"] * max(side / first["shorter_side"], 1)) for side in scales]
            loading = {
                "statistics": common_statistics(config.checkpoint, contents),
                "device": str(ranks.device),
                "threads": threads,
                "rank": ranks.rank,
                "world_size": ranks.world_size,
                "pin_memory": ranks.device.type == "cuda",
            }
            begun = time.perf_counter()
            records = _records(config, models, store, list(zip(scales, longer, strict=True)), loading, ranks, progress)
            seconds = time.perf_counter() - begun
            result = figures(records, store.classes, config.rules)
            if ranks.is_first:
                _write(config, records.detections, store)
    written = {"predictions": config.predictions, "picture": config.picture}
    return {
        **result,
        **vars(config.rules),
        "checkpoints": [str(path) for path in config.checkpoint],
        "scales": list(scales),
        "longer_sides": longer,
        "flip": config.flip,
        "images": len(store),
        "images_per_second": len(store) / seconds,
        **{name: str(path) for name, path in written.items() if path is not None},
    }


def _records(
    config: EvaluateConfig,
    models: Sequence[Detector],
    store: ImageStore,
    sides: Sequence[tuple[int, int]],
    loading: dict[str, Any],
    ranks: Ranks,
    progress: Track,
) -> Records:
    """Over all ranks' images."""
    with ExitStack() as opened:
        loaders = [
            opened.enter_context(
                closing(test_loader(store, shorter_side=shorter, longer_side=longer, flip=flip, **loading))
            )
            for shorter, longer in sides
            for flip in (False, True)[: 1 + config.flip]
        ]
        track = progress if ranks.is_first else silent
        return record_detections(
            models,
            track(zip(*loaders, strict=True), len(loaders[0]), "evaluating"),
            store=store,
            rules=config.rules,
            ranks=ranks,
            precision=resolve_precision(config.precision, ranks.device),
        )


def _write(config: EvaluateConfig, record: DetectionRecord, store: ImageStore) -> None:
    if config.predictions is not None:
        write_coco_predictions(config.predictions, record, store)
    if config.picture is not None:
        shown = set(shown_samples(store).tolist())
        pictures = [
            DetectionPicture(store.names[image], _decoded(store, image), _sure(found), objects)
            for image, found, objects in record.by_image()
            if image in shown
        ]
        save_detection_pictures(Path(config.picture), pictures, store.classes)


def _sure(found: Detections) -> Detections:
    kept = torch.nonzero(found.scores >= SHOWN).flatten()
    return Detections(*(part[kept] for part in found))


def _decoded(store: ImageStore, image: int) -> np.ndarray:
    """RGB uint8 [H, W, 3], oriented."""
    picture = cv2.imdecode(np.frombuffer(store.read([image])[0], np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])

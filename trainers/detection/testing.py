"""Testing trained detectors: scales, mirror images, several networks; figures by class, predictions, a picture."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np

from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.store.reader import ImageStore
from ..core.distributed import Ranks, process_group
from ..core.machine import resolve_precision, threads_per_rank, torch_settings
from ..metrics.detection_record import DetectionRecord
from ..parsing.pictures import shown_samples
from .config import EvaluateConfig
from .evaluation import Records, figures, record_detections
from .job import check_objects
from .networks import Detectors, opened_detectors
from .pictures import DetectionPicture, save_detection_pictures
from .predictions import write_coco_predictions

SHOWN = 0.5  # least score of a detection that is drawn


def evaluate(config: EvaluateConfig, progress: Track = silent) -> dict[str, Any]:
    """How trained detectors do on a store, all networks and views fused; images go one by one, so that none is padded
    for the sake of another.

    Returns plain JSON: what detection_evaluation.figures has, its thresholds and limits as in DetectionRules;
    `checkpoints`, `scales` (px), `longer_sides` (px), `flip`, `images`, `images_per_second`; `predictions` and
    `picture` where they were written. Raises InputError for what cannot be used or does not fit together.
    """
    check_outputs(config, "predictions", "picture")
    with process_group(config.device) as ranks:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads):
            store = ImageStore(config.store)
            check_objects(store)
            with opened_detectors(
                config.checkpoint, store, scales=config.scales, flip=config.flip, ranks=ranks, threads=threads
            ) as opened:
                begun = time.perf_counter()
                records = _records(config, opened, store, ranks, progress)
                seconds = time.perf_counter() - begun
            result = figures(records, store.classes, config.rules)
            if ranks.is_first:
                _write(config, records.detections, store)
    written = {"predictions": config.predictions, "picture": config.picture}
    return {
        **result,
        **vars(config.rules),
        "checkpoints": [str(path) for path in config.checkpoint],
        "scales": list(opened.scales),
        "longer_sides": list(opened.longer_sides),
        "flip": config.flip,
        "images": len(store),
        "images_per_second": len(store) / seconds,
        **{name: str(path) for name, path in written.items() if path is not None},
    }


def _records(config: EvaluateConfig, opened: Detectors, store: ImageStore, ranks: Ranks, progress: Track) -> Records:
    """Over all ranks' images."""
    track = progress if ranks.is_first else silent
    return record_detections(
        opened.models,
        track(zip(*opened.loaders, strict=True), len(opened.loaders[0]), "evaluating"),
        store=store,
        rules=config.rules,
        ranks=ranks,
        precision=resolve_precision(config.precision, ranks.device),
    )


def _write(config: EvaluateConfig, record: DetectionRecord, store: ImageStore) -> None:
    if config.predictions is not None:
        write_coco_predictions(config.predictions, record, store, overwrite=config.overwrite)
    if config.picture is not None:
        shown = set(shown_samples(store).tolist())
        pictures = [
            DetectionPicture(store.names[image], decoded(store, image), found, objects)
            for image, found, objects in record.by_image()
            if image in shown
        ]
        save_detection_pictures(config.picture, pictures, store.classes, least_score=SHOWN, overwrite=config.overwrite)


def decoded(store: ImageStore, image: int) -> np.ndarray:
    """RGB uint8 [H, W, 3], oriented."""
    picture = cv2.imdecode(np.frombuffer(store.read([image])[0], np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(picture)[:, :, ::-1])

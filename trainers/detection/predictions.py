"""Detections as a file in COCO's results format: a JSON list of {"image_id", "category_id", "bbox", "score"}.

Of a store that was built from a COCO file, `image_id` and `category_id` are the ids of that file, and `bbox` is in the
pixels of its images, also where the build has shrunk them. Of other stores `image_id` is the index in the store and
`category_id` the class from 1. `bbox` is x, y, width, height with continuous edges; float32 values survive bit for bit.
Each entry also names its image's file and its class.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.publish import write_file
from ...pipelines.store.reader import ImageStore
from ..metrics.detections import DetectionRecord


def check_image_ids(store: ImageStore) -> None:
    """Raise InputError where two images have the same id in their sources, as those of joined stores may have."""
    if store.image_ids is None:
        return
    numbers, counts = np.unique(store.image_ids, return_counts=True)
    if counts.max() > 1:
        raise InputError(
            f"{store.path} has {counts.max()} images of the id {numbers[counts.argmax()]}, between which a file of "
            "predictions could not tell; evaluate the stores that were joined one by one"
        )


def write_predictions(path: str | Path, record: DetectionRecord, store: ImageStore, *, overwrite: bool = False) -> None:
    """Write the record's detections in the order of the images; raises InputError where the file cannot be written, and
    where it exists without `overwrite`.
    """
    rows = record.detections[record.detections[:, 0].argsort(stable=True)].numpy()
    images, labels = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    boxes, image_ids, category_ids = rows[:, 3:], np.arange(len(store.names)), range(1, len(store.classes) + 1)
    if store.image_ids is not None and store.source_sizes is not None and store.category_ids is not None:
        image_ids, category_ids = store.image_ids, store.category_ids
        scales = store.source_sizes[images] / store.sizes[images]
        boxes = boxes * np.tile(scales[:, ::-1], 2)
    entries = [
        {
            "image_id": int(image_ids[image]),
            "category_id": category_ids[label],
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "file_name": store.names[image],
            "category": store.classes[label],
        }
        for image, label, score, (left, top, right, bottom) in zip(
            images.tolist(), labels.tolist(), rows[:, 2].tolist(), boxes.tolist(), strict=True
        )
    ]
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
    write_file(path, text.encode(), overwrite=overwrite)

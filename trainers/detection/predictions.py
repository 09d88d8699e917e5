"""Detections as a file in COCO's results format: a JSON list of {"image_id", "category_id", "bbox", "score"}.

`image_id` is the index in the store, `category_id` the class from 1, `bbox` x, y, width, height with continuous edges;
float32 values survive bit for bit. Each entry also names its file and its class, so that other tools can put in the
numbers of their own annotation file.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...pipelines.io.publish import write_file
from ...pipelines.store.reader import ImageStore
from ..metrics.detections import DetectionRecord


def write_predictions(path: str | Path, record: DetectionRecord, store: ImageStore, *, overwrite: bool = False) -> None:
    """Write the record's detections in the order of the images; raises InputError where the file cannot be written, and
    where it exists without `overwrite`.
    """
    rows = record.detections[record.detections[:, 0].argsort(stable=True)].tolist()
    entries = [
        {
            "image_id": int(image),
            "category_id": int(label) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "file_name": store.names[int(image)],
            "category": store.classes[int(label)],
        }
        for image, label, score, left, top, right, bottom in rows
    ]
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
    write_file(path, text.encode(), overwrite=overwrite)

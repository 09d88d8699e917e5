"""Detections as a file in COCO's results format: a JSON list of {"image_id", "category_id", "bbox", "score"}.

`image_id` is the index in the store, `category_id` the class from 1, `bbox` x, y, width, height with continuous edges;
float32 values survive bit for bit. Each entry also names its file and its class, so that other tools can put in the
numbers of their own annotation file.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...pipelines.io.outputs import DETECTIONS
from ...pipelines.io.small_files import write_output
from ...pipelines.store.reader import ImageStore
from ..metrics.detection_record import DetectionRecord


def write_predictions(path: str | Path, record: DetectionRecord, store: ImageStore) -> None:
    """Write the record's detections by image, replacing an earlier file; InputError where it cannot be written."""
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
    write_output(path, text.encode(), DETECTIONS)

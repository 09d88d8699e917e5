"""Random objects and detections, shared by tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sdali.trainers.metrics.detections import DetectionRecord, Detections, GroundTruth
from sdali.trainers.models.detection.network import DetectionConfig
from sdali.trainers.models.detection.rpn import RPNConfig

SMALL = DetectionConfig(
    backbone="resnet10t", roi_size=4, regions=16,
    rpn=RPNConfig(anchor_sizes=(24,), anchor_ratios=(1.0,), width=32, considered=100, proposals=20),
)  # fmt: skip


def no_detections() -> Detections:
    """The detections of an image without any."""
    return Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def merged(*records: DetectionRecord) -> DetectionRecord:
    """The record of all images, as ranks gather it."""
    parts = zip(*((one.images, one.objects, one.detections) for one in records), strict=True)
    return DetectionRecord(*(torch.cat(part) for part in parts))


def boxes(rng: np.random.Generator, count: int, side: int = 100) -> np.ndarray:
    """float32 [count, 4] inside side x side pixels, each at least 2 px wide and high, at quarters of a pixel."""
    corner = rng.uniform(0, side - 12, (count, 2))
    return (np.concatenate([corner, corner + rng.uniform(2, 60, (count, 2))], 1).clip(0, side) * 4).round() / 4


def objects(rng: np.random.Generator, count: int, classes: int, *, difficult: float = 0.2) -> GroundTruth:
    return GroundTruth(
        torch.from_numpy(boxes(rng, count)).float(),
        torch.from_numpy(rng.integers(0, classes, count)),
        torch.from_numpy(rng.random(count) < difficult),
    )


def jittered(rng: np.random.Generator, truth: GroundTruth, classes: int, *, ties: bool = False) -> Detections:
    """Two or three tries near each object, some of a wrong class, and some anywhere."""
    near = truth.boxes.numpy().repeat(rng.integers(1, 4), 0)
    near = near + rng.normal(0, 3, near.shape).round(2)
    corners = np.concatenate([near, boxes(rng, 3)])
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)
    labels = truth.classes.numpy().repeat(len(near) // max(len(truth.boxes), 1))
    labels = np.concatenate([labels, rng.integers(0, classes, 3)])
    wrong = rng.random(len(labels)) < 0.2
    labels[wrong] = rng.integers(0, classes, wrong.sum())
    scores = rng.integers(1, 5, len(labels)) / 4 if ties else rng.random(len(labels))
    mixed = rng.permutation(len(labels))
    return Detections(
        torch.from_numpy(corners[mixed]).float(),
        torch.from_numpy(scores[mixed]).float(),
        torch.from_numpy(labels[mixed]),
    )


Images = list[tuple[int, Detections, GroundTruth]]


def images(seed: int, count: int, classes: int, *, ties: bool = False) -> Images:
    """Numbers, detections and objects of `count` images, some of them without any."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(3 * count)[:count].tolist()
    held = [objects(rng, int(rng.integers(0, 6)), classes) for _ in range(count)]
    return [(number, jittered(rng, one, classes, ties=ties), one) for number, one in zip(numbers, held, strict=True)]


def record(some: Images) -> DetectionRecord:
    return DetectionRecord.of([one[0] for one in some], [one[1] for one in some], [one[2] for one in some])


ALL_PARTS = dataclasses.replace(SMALL, cascade_rpn=True, constrained="rpn", global_context="random", ohem=True)


def read_coco_predictions(path: Path, store: Any) -> list[Detections]:
    """The detections in each of the store's images, in float32, from a file in COCO's results format."""
    entries: list[list[dict[str, Any]]] = [[] for _ in store.names]
    for entry in json.loads(path.read_text()):
        assert (entry["file_name"], entry["category"]) == (
            store.names[entry["image_id"]],
            store.classes[entry["category_id"] - 1],
        )
        entries[entry["image_id"]].append(entry)
    return [
        Detections(
            torch.tensor([[x, y, x + w, y + h] for x, y, w, h in (one["bbox"] for one in of_image)]).reshape(-1, 4),
            torch.tensor([one["score"] for one in of_image], dtype=torch.float32),
            torch.tensor([one["category_id"] - 1 for one in of_image], dtype=torch.int64),
        )
        for of_image in entries
    ]

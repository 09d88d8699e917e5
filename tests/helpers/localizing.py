"""A store, a classifier and a detector for tests of localization."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoint_parts import parts_of_a_run
from detectors import awake
from pictures import jpeg
from training import TinyNet

from sdali.pipelines import ImageStore
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers.core import checkpoint
from sdali.trainers.models.detection.detector import Detector
from sdali.trainers.models.detection.network import DetectionConfig, create_detector
from sdali.trainers.models.detection.rpn import RPNConfig

LEVELS = 30, 190, 255


CLASSES = ("dark", "bright", "white")


NETWORK = DetectionConfig(
    backbone="resnet10t",
    roi_size=4,
    rpn=RPNConfig(anchor_sizes=(24,), anchor_ratios=(1.0,), width=32, considered=100, proposals=20),
)


def picture(seed: int) -> tuple[np.ndarray, Boxes]:
    """A grey picture with one even square, a fifth of its area at most; the shade is the class."""
    rng = np.random.default_rng(seed)
    label, side = seed % 3, int(rng.integers(20, 26))
    x, y = (int(rng.integers(4, room - side - 4)) for room in (80, 64))
    image = np.full((64, 80, 3), 110, np.uint8)
    image[y : y + side, x : x + side] = LEVELS[label]
    return image, Boxes(np.array([[x, y, x + side, y + side]], np.float32), np.array([label]), np.zeros(1, bool))


def common() -> dict[str, Any]:
    return {**parts_of_a_run(), "classes": list(CLASSES)}


def write(path: Path, count: int, *, classes: tuple[str, ...] = CLASSES, boxless: int = -1) -> ImageStore:
    with StoreWriter(path, classes=classes, has_boxes=True) as writer:
        for seed in range(count):
            image, boxes = picture(seed)
            own = boxes.at(np.zeros(0, np.int64)) if seed == boxless else boxes
            writer.add(jpeg(image, 95), label=seed % 3, height=64, width=80, name=f"{seed}.jpg", boxes=own)
    return ImageStore(path)


def save_classifier(path: Path, seed: int) -> TinyNet:
    """Untrained, but with logits that differ between images."""
    torch.manual_seed(seed)
    model = TinyNet(3)
    model.fc.weight.data *= 30
    saved = {"model": {"name": "tiny_dropout_net", "args": {}}, "size": 32, "test_crop": "whole"}
    checkpoint.save(path, {"task": "classification", **saved, **common(), "state_dict": model.state_dict()})
    return model.eval()


def save_detector(path: Path) -> Detector:
    torch.manual_seed(0)
    model = awake(create_detector(NETWORK, 3))
    saved = {"network": asdict(NETWORK), "shorter_side": 64, "longer_side": 100}
    checkpoint.save(path, {"task": "detection", **saved, **common(), "state_dict": model.state_dict()})
    return model.eval()  # type: ignore[return-value]

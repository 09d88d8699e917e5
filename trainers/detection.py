"""Training and evaluating detectors on stores of images with objects.

    result = train(TrainConfig(store=Path("voc.train.lmdb"), val_store=Path("voc.val.lmdb"), out=Path("run")))
    detector, checkpoint = load_detector("run/best.pt")

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from . import training
from .detection_checkpoint import load_detector
from .detection_config import DetectionRules, EvaluateConfig, TrainConfig
from .detection_job import prepare
from .detection_test import evaluate

__all__ = ["DetectionRules", "EvaluateConfig", "TrainConfig", "evaluate", "load_detector", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a detector, see training.train; its score is COCO's AP50, of one scale and without voting."""
    return training.train(config, prepare)

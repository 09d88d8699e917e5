"""Training and evaluating detectors on stores of images with objects.

    result = train(TrainConfig(store=Path("voc.train.lmdb"), val_store=Path("voc.val.lmdb"), out=Path("run")))
    detector, checkpoint = load_detector("run/best.pt")

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .checkpoint import load_detector
from .config import DetectionRules, EvaluateConfig, TrainConfig
from .job import prepare
from .testing import evaluate

__all__ = ["DetectionRules", "EvaluateConfig", "TrainConfig", "evaluate", "load_detector", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a detector, see training.train; its score is COCO's AP50, of one scale and without voting."""
    return training.train(config, prepare)

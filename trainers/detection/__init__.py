"""Training and evaluating detectors on stores of images with objects.

    result = train(TrainConfig(store=Path("voc.train.lmdb"), val_store=Path("voc.val.lmdb"), out=Path("run")))
    figures = evaluate(EvaluateConfig(checkpoint=(Path("run/best.pt"),), store=Path("voc.val.lmdb")))
    detector = load_network("run/best.pt").module  # from sdali.trainers

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .config import DetectionRules, EvaluateConfig, TrainConfig
from .evaluation import evaluate
from .job import DetectionJob

__all__ = ["DetectionRules", "EvaluateConfig", "TrainConfig", "evaluate", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a detector; see core.training.train. Its score is COCO's AP50, at one scale and without voting."""
    return training.train(config, DetectionJob)

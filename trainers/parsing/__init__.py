"""Training and evaluating networks of scene parsing on stores of images and masks.

    result = train(TrainConfig(store=Path("camvid.train.lmdb"), val_store=Path("camvid.val.lmdb"), out=Path("run")))
    figures = evaluate(EvaluateConfig(checkpoint=Path("run/best.pt"), store=Path("camvid.val.lmdb")))
    network = load_network("run/best.pt").module  # from sdali.trainers

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .config import EvaluateConfig, TrainConfig
from .evaluation import evaluate
from .job import ParsingJob

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a network of scene parsing; see core.training.train. Its score: (mean IoU + pixel accuracy) / 2."""
    return training.train(config, ParsingJob)

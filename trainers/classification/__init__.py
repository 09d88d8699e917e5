"""Training and evaluating classifiers on image stores.

    result = train(TrainConfig(store=Path("pets.lmdb"), val_store=Path("pets.val.lmdb"), out=Path("run")))
    figures = evaluate(EvaluateConfig(checkpoint=Path("run/best.pt"), store=Path("pets.val.lmdb")))
    classifier = load_network("run/best.pt").module  # from sdali.trainers

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .config import EvaluateConfig, TrainConfig
from .evaluation import evaluate
from .job import ClassificationJob

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a classifier; see core.training.train. Its score is `top1`."""
    return training.train(config, ClassificationJob)

"""Training and evaluating classifiers on image stores.

    result = train(TrainConfig(store=Path("pets.lmdb"), val_store=Path("pets.val.lmdb"), out=Path("run")))
    model, checkpoint = load_classifier("run/best.pt")

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .checkpoint import load_classifier
from .config import TrainConfig
from .evaluation import evaluate
from .evaluation_config import EvaluateConfig
from .job import prepare

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "load_classifier", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a classifier, see training.train; its score is `top1`."""
    return training.train(config, prepare)

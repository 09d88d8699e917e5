"""Training and evaluating networks of scene parsing on stores of images and masks.

    result = train(TrainConfig(store=Path("camvid.train.lmdb"), val_store=Path("camvid.val.lmdb"), out=Path("run")))
    network, checkpoint = load_parser("run/best.pt")

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

from typing import Any

from ..core import training
from .checkpoint import load_parser
from .config import EvaluateConfig, TrainConfig
from .job import prepare
from .testing import evaluate

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "load_parser", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a network of scene parsing, see training.train; its score is the mean of mean IoU and pixel accuracy."""
    return training.train(config, prepare)

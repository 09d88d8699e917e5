"""`sdali train classification`, `evaluate classification`, `confusion`: the trainers' own options are the flags."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..trainers.classification_config import TrainConfig
from ..trainers.evaluation_config import ConfusionConfig, EvaluateConfig


@dataclass(frozen=True, kw_only=True)
class TrainClassification(TrainConfig):
    """Flags of `sdali train classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import train

        return _once(train(self))


@dataclass(frozen=True, kw_only=True)
class EvaluateClassification(EvaluateConfig):
    """Flags of `sdali evaluate classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.progress import track
        from ..trainers.classification import evaluate

        return _once(evaluate(self, progress=track))


@dataclass(frozen=True, kw_only=True)
class Confusion(ConfusionConfig):
    """Flags of `sdali confusion`."""

    store: Positional[Path]
    """Image store with the classes that the model was trained on, of images that it was not trained on."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.progress import track
        from ..trainers.confusion import confusion

        return _once(confusion(self, progress=track))


def _once(result: dict[str, Any]) -> dict[str, Any] | None:
    """Under torchrun every rank has the result, and the first prints it."""
    return result if os.environ.get("RANK", "0") == "0" else None

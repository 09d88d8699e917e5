"""`sdali train classification` and `sdali evaluate classification`: the trainers' own options are the flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..trainers.classification_config import EvaluateConfig, TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainClassification(TrainConfig):
    """Flags of `sdali train classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import train

        return train(self)


@dataclass(frozen=True, kw_only=True)
class EvaluateClassification(EvaluateConfig):
    """Flags of `sdali evaluate classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import evaluate

        return evaluate(self)

"""`sdali train classification` and `sdali evaluate classification`: the trainers' own options are the flags."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ..trainers.classification_config import EvaluateConfig, TrainConfig


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


def _once(result: dict[str, Any]) -> dict[str, Any] | None:
    """Under torchrun every rank has the result, and the first prints it."""
    return result if os.environ.get("RANK", "0") == "0" else None

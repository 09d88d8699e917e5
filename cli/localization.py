"""`sdali train localization`, `evaluate localization`: the trainers' own options are the flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..pipelines.io.outputs import ANSWERS, PNG, check_outputs
from ..pipelines.io.tables import show
from ..trainers.localization.config import EvaluateConfig, TrainConfig
from .classification import printed_once

_COLUMNS = {
    "error": "error",
    "box_wrong": "box wrong",
    "label_wrong": "label wrong",
    "both_wrong": "both wrong",
    "classification_error": "classification",
}


@dataclass(frozen=True, kw_only=True)
class TrainLocalization(TrainConfig):
    """Flags of `sdali train localization`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.localization import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class EvaluateLocalization(EvaluateConfig):
    """Flags of `sdali evaluate localization`."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.io.progress import track
        from ..trainers.localization import evaluate

        check_outputs(self, {"answers": ANSWERS, "picture": PNG})
        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            methods = {"answers": result, **result.get("baselines", {})}
            rows = [
                [name.replace("_", " "), *(f"{figures[key]:.4f}" for key in _COLUMNS)]
                for name, figures in methods.items()
            ]
            title = f"{result['images']:,} images of {self.store}, {result['top']} answers to each"
            show(title, ["", *_COLUMNS.values()], rows)
        return result

"""`sdali train parsing`, `evaluate parsing`: the trainers' own options are the flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..pipelines.io.outputs import PNG, check_outputs
from ..pipelines.io.tables import show
from ..trainers.parsing.config import EvaluateConfig, TrainConfig
from ..trainers.parsing.recipes import recipe
from .classification import of_recipe, printed_once


@dataclass(frozen=True, kw_only=True)
class TrainParsing(TrainConfig):
    """Flags of `sdali train parsing`."""

    recipe: str | None = None
    """Defaults of all the other flags, which --help then shows: ade20k_vgg16 or ade20k_resnet101."""

    @classmethod
    def defaults(cls, flags: Sequence[str]) -> TrainParsing | None:
        """What stands for flags that are not given, where they name a recipe; raises InputError for an unknown one."""
        return of_recipe(cls, flags, recipe)

    def run(self) -> dict[str, Any] | None:
        from ..trainers.parsing import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class EvaluateParsing(EvaluateConfig):
    """Flags of `sdali evaluate parsing`."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.io.progress import track
        from ..trainers.parsing import evaluate

        check_outputs(self, {"picture": PNG})
        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            rows = [[name, f"{iou:.3f}"] for name, iou in result["per_class"].items()]
            means = [
                [name.replace("_", " "), f"{result[name]:.3f}"] for name in ("mean_iou", "pixel_accuracy", "score")
            ]
            show(f"{result['images']:,} images of {self.store}", ["class", "IoU"], rows + means)
        return result

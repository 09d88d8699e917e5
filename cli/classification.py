"""`sdali train classification`, `evaluate classification`, `confusion`: the trainers' own options are the flags."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro.conf import Positional

from ..pipelines.io.outputs import HDF5, PNG, check_outputs
from ..pipelines.io.tables import show
from ..trainers.classification.config import ConfusionConfig, EvaluateConfig, TrainConfig
from ..trainers.classification.recipes import recipe


@dataclass(frozen=True, kw_only=True)
class TrainClassification(TrainConfig):
    """Flags of `sdali train classification`."""

    recipe: str | None = None
    """Defaults of all the other flags, which --help then shows: inception_v3, inception_resnet_v2, wide_resnet50_2,
    wide_resnet101_2, resnetv2_101, wide_resnet65_2, wide_resnet50_3, or small_cpu."""

    @classmethod
    def defaults(cls, flags: Sequence[str]) -> TrainClassification | None:
        """What stands for flags that are not given, where they name a recipe; raises InputError for an unknown one."""
        return of_recipe(cls, flags, recipe)

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class EvaluateClassification(EvaluateConfig):
    """Flags of `sdali evaluate classification`."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.io.progress import track
        from ..trainers.classification import evaluate

        check_outputs(self, {"predictions": HDF5, "picture": PNG})
        result = printed_once(evaluate(self, progress=track))
        if result is not None:
            columns = [name for name in ("top1", "top5", "loss", "ece") if name in result]
            show(
                f"{result['images']:,} images, {result['views']}, "
                f"{', '.join(map(str, result['scales']))} px, {len(result['checkpoints'])} network(s)",
                columns,
                [[f"{result[name]:.4f}" for name in columns]],
            )
        return result


@dataclass(frozen=True, kw_only=True)
class Confusion(ConfusionConfig):
    """Flags of `sdali confusion`."""

    store: Positional[Path]
    """Image store with the classes that the model was trained on, of images that it was not trained on."""

    def run(self) -> dict[str, Any] | None:
        from ..pipelines.io.progress import track
        from ..trainers.classification.confusion import confusion

        check_outputs(self, {"out": HDF5})
        return printed_once(confusion(self, progress=track))


Flags = TypeVar("Flags")


def of_recipe(
    kind: Callable[..., Flags], flags: Sequence[str], recipe: Callable[[str], dict[str, Any]]
) -> Flags | None:
    """A `kind` with the values of the recipe that the flags name, None where they name none."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--recipe", nargs="?")  # without a name: left for the command line itself to refuse
    name = parser.parse_known_args(flags)[0].recipe
    if name is None:
        return None
    return kind(**recipe(name), recipe=name, store=tyro.MISSING, val_store=tyro.MISSING, out=tyro.MISSING)


def printed_once(result: dict[str, Any]) -> dict[str, Any] | None:
    """Under torchrun every rank has the result, and the first prints it."""
    return result if os.environ.get("RANK", "0") == "0" else None

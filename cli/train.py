"""`sdali train TASK`: the flags are the fields of the trainers' configurations, with the defaults of a recipe."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import tyro

from ..trainers.classification import config as classification
from ..trainers.classification.recipes import recipe as classification_recipe
from ..trainers.detection import config as detection
from ..trainers.detection.recipes import recipe as detection_recipe
from ..trainers.localization import config as localization
from ..trainers.parsing import config as parsing
from ..trainers.parsing.recipes import recipe as parsing_recipe


class WithRecipe:
    """What the commands have in common whose flags take their defaults from a recipe."""

    recipes: ClassVar[Callable[[str], dict[str, Any]]]
    """Gives the options of a recipe by its name; raises InputError for a name that none has."""

    @classmethod
    def defaults(cls, words: Sequence[str]) -> Any:
        """The command with the options of the recipe that its words name, None where they name none."""
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--recipe", nargs="?")  # without a name: tyro will refuse it
        name = parser.parse_known_args(words)[0].recipe
        if name is None:
            return None
        given: dict[str, Any] = dict.fromkeys(("store", "val_store", "out"), tyro.MISSING)
        return cls(**cls.recipes(name), **given, recipe=name)  # type: ignore[call-arg]


@dataclass(frozen=True, kw_only=True)
class TrainClassification(WithRecipe, classification.TrainConfig):
    """Flags of `sdali train classification`."""

    recipes = staticmethod(classification_recipe)
    recipe: str | None = None
    """Take the defaults of all other flags, which --help then shows, from this recipe: inception_v3,
    inception_resnet_v2, wide_resnet50_2, wide_resnet101_2, resnetv2_101, wide_resnet65_2, wide_resnet50_3, or
    small_cpu."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.classification import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class TrainParsing(WithRecipe, parsing.TrainConfig):
    """Flags of `sdali train parsing`."""

    recipes = staticmethod(parsing_recipe)
    recipe: str | None = None
    """Take the defaults of all other flags, which --help then shows, from this recipe: ade20k_vgg16 or
    ade20k_resnet101."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.parsing import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class TrainDetection(WithRecipe, detection.TrainConfig):
    """Flags of `sdali train detection`."""

    recipes = staticmethod(detection_recipe)
    recipe: str | None = None
    """Take the defaults of all other flags, which --help then shows, from this recipe: bccd_cpu or voc_resnet101."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.detection import train

        return printed_once(train(self))


@dataclass(frozen=True, kw_only=True)
class TrainLocalization(localization.TrainConfig):
    """Flags of `sdali train localization`."""

    def run(self) -> dict[str, Any] | None:
        from ..trainers.localization import train

        return printed_once(train(self))


def printed_once(result: dict[str, Any]) -> dict[str, Any] | None:
    """The result on the first rank, which prints it; None on the others, which have the same."""
    return result if os.environ.get("RANK", "0") == "0" else None

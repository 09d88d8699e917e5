"""Checks of what a user gives, options and the classes of stores: each refusal is one sentence that says what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.bounds import MOST, whole_number
from ...pipelines.store.reader import ImageStore

Recipe = Callable[[], dict[str, Any]]

_NAMED = 3  # a sentence names at most this many classes and counts the rest


def take_python_numbers(config: Any) -> None:
    """Replace NumPy's numbers in a frozen dataclass, and in the dataclasses in it, by Python's: JSON holds these."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            take_python_numbers(value)
        elif isinstance(value, np.generic):
            object.__setattr__(config, field.name, value.item())
        elif isinstance(value, tuple) and any(isinstance(each, np.generic) for each in value):
            plain = tuple(each.item() if isinstance(each, np.generic) else each for each in value)
            object.__setattr__(config, field.name, plain)


def check_count(name: str, value: int | None, most: int = MOST) -> None:
    """Raise InputError unless the value is whole and from 1 to `most`, or None."""
    if value is None:
        return
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    whole_number(name, value, most)


def check_least(name: str, value: float | None, least: float) -> None:
    """Raise InputError unless the value is at least `least` and finite, or None."""
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{name} must be at least {least} and finite, got {value}")


def check_share(name: str, value: float) -> None:
    """Raise InputError unless the value is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise InputError(f"{name} must be at least 0 and below 1, got {value}")


def check_threshold(name: str, value: float) -> None:
    """Raise InputError unless the value is above 0 and at most 1, as a threshold of IoU is."""
    if not 0 < value <= 1:
        raise InputError(f"{name} must be above 0 and at most 1, got {value}")


def check_choice(name: str, value: object, literal: Any) -> None:
    """Raise InputError unless the value is one of the words of a Literal."""
    if value not in get_args(literal):
        raise InputError(f"{name} must be one of {', '.join(get_args(literal))}, got {value!r}")


def check_differ(name: str, values: Sequence[float]) -> None:
    """Raise InputError where a value occurs twice."""
    if len(set(values)) < len(values):
        raise InputError(f"{name} must differ, got {', '.join(map(str, values))}")


def checked_recipe(name: str, recipes: dict[str, Recipe]) -> Recipe:
    """The recipe of this name; raises InputError, with a list of the names, for an unknown one."""
    if name not in recipes:
        raise InputError(f"there is no recipe {name!r}; choose one of {', '.join(recipes)}")
    return recipes[name]


class LabelledImages(Protocol):
    """What an image store and a file of predictions both know about their images."""

    def __len__(self) -> int: ...
    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str: ...  # of the image store
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> np.ndarray: ...  # int64 [N]
    @property
    def names(self) -> Sequence[str]: ...


def check_labelled(store: LabelledImages) -> None:
    """Raise InputError unless there are two classes or more and every image has one."""
    if len(store.classes) < 2:
        raise InputError(
            f"{store.path} has {len(store.classes)} classes and a classifier needs two or more; build it from a folder "
            "with one sub-folder a class"
        )
    unlabelled = np.flatnonzero(store.labels < 0)
    if len(unlabelled):
        raise InputError(
            f"{len(unlabelled)} of the {len(store)} images of {store.path} have no class, the first is "
            f"{store.names[int(unlabelled[0])]}; build it without them"
        )


def check_same_classes(store: ImageStore, classes: Sequence[str], owner: object) -> None:
    """Raise InputError unless the store's classes are `classes`, those of `owner`, in the same order."""
    if difference := class_difference(store.classes, classes):
        raise InputError(
            f"{store.path} does not have the classes of {owner}: {difference}; build both with the same classes"
        )


def class_difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    """How two lists of class names differ, in words; empty where they do not."""
    missing = [name for name in wanted if name not in set(found)]
    unknown = [name for name in found if name not in set(wanted)]
    parts = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it adds {_listed(unknown)}"] * bool(unknown)
    if not parts and list(found) != list(wanted):
        index = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b)
        parts = [f"class {index} is {found[index]} there and should be {wanted[index]}"]
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

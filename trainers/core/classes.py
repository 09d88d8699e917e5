"""Whether a store's classes are those that are wanted: each refusal is one sentence that names the difference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.store.reader import ImageStore

_NAMED = 3  # so many classes are named, the rest counted


class LabelledImages(Protocol):
    """What an image store and a file of predictions say about their images."""

    def __len__(self) -> int: ...
    @property
    def path(self) -> Path: ...
    @property
    def digest(self) -> str:
        """Of the image store."""
        ...

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> np.ndarray:
        """int64 [N]."""
        ...

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
    """How two lists of class names differ, empty where they do not."""
    missing = [name for name in wanted if name not in set(found)]
    unknown = [name for name in found if name not in set(wanted)]
    parts = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it adds {_listed(unknown)}"] * bool(unknown)
    if not parts and list(found) != list(wanted):
        place = next(i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b)
        parts = [f"class {place} is {found[place]} there and should be {wanted[place]}"]
    return " and ".join(parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

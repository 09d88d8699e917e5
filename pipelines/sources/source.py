"""What a build reads from: class names, and a sequence of items, each of which is loaded only when its turn comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from ..store.boxes import Boxes


class Loaded(NamedTuple):
    """The content of one sample, as `SourceItem.load` returns it.

    `data`: encoded image. `mask`: single-channel uint8 PNG of class indices, as large as the oriented image, or None.
    `boxes`: of the oriented image, as they were annotated; None where it is not annotated. `size`: height and width
    that the annotation states, or None.
    """

    data: bytes
    mask: bytes | None = None
    boxes: Boxes | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class SourceItem:
    """One sample of a source: `name` (relative path with '/'), `label` (class, -1 for none), and how to load it.

    `load` may run on any thread; it raises OSError, or InputError with a reason that completes "NAME ...".
    `mask_name` names the mask's file in messages.
    """

    name: str
    label: int
    load: Callable[[], Loaded]
    mask_name: str = ""


class LazyItems(Sequence[SourceItem]):
    """`count` items, each made by `item(index)` when it is asked for: millions of samples cost little memory."""

    def __init__(self, count: int, item: Callable[[int], SourceItem]) -> None:
        self._count, self._item = count, item

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> SourceItem: ...
    @overload
    def __getitem__(self, index: slice) -> list[SourceItem]: ...
    def __getitem__(self, index: int | slice) -> SourceItem | list[SourceItem]:
        if isinstance(index, slice):
            return [self._item(i) for i in range(*index.indices(self._count))]
        return self._item(range(self._count)[index])


@dataclass(frozen=True)
class Source:
    """Everything that a build needs: class names (() for none), items in the order of the store, what items carry.

    `ignore_index`: where the classes are those of the masks' pixels, the value of pixels without a class.
    `description` is recorded in the store.
    """

    classes: tuple[str, ...]
    items: Sequence[SourceItem]
    has_masks: bool = False
    has_boxes: bool = False
    ignore_index: int | None = None
    description: str = ""


def natural_key(path: str) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorts img2 before img10, folder by folder; '/' separates folders. Equal numbers ("01", "1") fall back to text."""
    return tuple((_natural_parts(part), part) for part in path.split("/"))


def _natural_parts(text: str) -> tuple[str | int, ...]:
    # Splitting on a group alternates text and digits, so that two keys never compare a str with an int.
    return tuple(int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", text)))

"""What a build reads from: class names and a sequence of items, each loaded only when its turn comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from .boxes import Boxes


class Loaded(NamedTuple):
    """One sample's content, as `SourceItem.load` returns it.

    `data`: encoded image. `mask`: single-channel uint8 PNG of class indices, of the oriented image's size, or None.
    `boxes`: of the oriented image, as they were annotated, or None: not annotated. `size`: height and width that the
    annotation states, or None.
    """

    data: bytes
    mask: bytes | None = None
    boxes: Boxes | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class SourceItem:
    """A sample to be: `name` (relative path with '/'), `label` (class, -1: none), and how to load it.

    `load` may run on any thread; it raises OSError, or InputError with a reason that completes "NAME ...".
    `mask_name` names the mask's file in messages.
    """

    name: str
    label: int
    load: Callable[[], Loaded]
    mask_name: str = ""


class LazyItems(Sequence[SourceItem]):
    """Items made when asked for, so that millions of samples cost little more than their names."""

    def item(self, index: int) -> SourceItem:
        """The sample at `index`, which is within 0..len-1."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> SourceItem: ...
    @overload
    def __getitem__(self, index: slice) -> list[SourceItem]: ...
    def __getitem__(self, index: int | slice) -> SourceItem | list[SourceItem]:
        if isinstance(index, slice):
            return [self.item(i) for i in range(*index.indices(len(self)))]
        return self.item(range(len(self))[index])


@dataclass(frozen=True)
class Source:
    """Everything a build needs: class names (() for none), items in store order, and what their items carry.

    `ignore_index`: where the classes are those of the masks' pixels, the value of pixels without one.
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

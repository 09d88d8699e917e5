"""What a build reads from: class names and a sequence of items, each loaded only when its turn comes."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, overload

from ..errors import InputError
from ..store.boxes import Boxes


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


def read_file(path: str | Path) -> bytes:
    """A file's content in four system calls: each lets go of Python's lock, for which threads then queue.

    Raises OSError, or InputError for what is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for without end
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError("is not a regular file")
        data = os.read(descriptor, status.st_size + 1)
        while len(data) != status.st_size and (more := os.read(descriptor, 1 << 30)):
            data += more
        return data
    finally:
        os.close(descriptor)


def natural_key(path: str) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorts img2 before img10, folder by folder; '/' separates folders. Equal numbers ("01", "1") fall back to text."""
    return tuple((_natural_parts(part), part) for part in path.split("/"))


def _natural_parts(text: str) -> tuple[str | int, ...]:
    # Splitting on a group alternates text and digits, so that two keys never compare a str with an int.
    return tuple(int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]+)", text)))

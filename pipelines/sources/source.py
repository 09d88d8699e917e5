"""A source, which a build reads: names of classes, and a sequence of items, each loaded only when its turn comes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, overload

from ..errors import InputError
from ..io.input_files import read_lines
from ..store.boxes import Boxes

_ENDING = re.compile(r"(\.tar)?\.[^.]+$")  # .tar.gz is one
_MOST_UNNAMED = 1 << 16  # our choice: a label above it is a mistake, not a class


class LeftOut:
    """What a source, or a build, does not take: by kind the number, and the first few names."""

    _SHOWN = 3

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[int, list[str]]] = {}

    def add(self, kind: str, name: str, count: int = 1) -> None:
        """Count something; `kind` is a plural ("files that end in .txt"), `name` one of these or where they are."""
        before, names = self._kinds.setdefault(kind, (0, []))
        if len(names) < self._SHOWN and name not in names:
            names.append(name)
        self._kinds[kind] = before + count, names

    def add_file(self, name: str) -> None:
        """Count a file by its ending, or as hidden; `name` is its path with '/'."""
        hidden = any(part.startswith(".") for part in name.split("/"))
        ending = _ENDING.search(name.rpartition("/")[2].lower())
        self.add(
            "hidden files and folders" if hidden else f"files that end in {ending[0]}" if ending
            else "files without an ending", name,
        )  # fmt: skip

    def report(self) -> dict[str, dict[str, Any]]:
        """JSON-able: {kind: {"count": int, "examples": [name, ...]}}, the most frequent first; {} for nothing."""
        kinds = sorted(self._kinds.items(), key=lambda kind: -kind[1][0])
        return {kind: {"count": count, "examples": list(names)} for kind, (count, names) in kinds}


class Loaded(NamedTuple):
    """The content of one sample, as `SourceItem.load` returns it.

    `data`: encoded image. `mask`: single-channel uint8 PNG of class indices, as large as the oriented image, or None.
    `boxes`: of the oriented image, as they were annotated; None where it is not annotated. `size`: height and width
    that the annotation states; None, or 0 x 0 as some tools write, where it is unknown.
    """

    data: bytes
    mask: bytes | None = None
    boxes: Boxes | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class SourceItem:
    """One sample of a source: `name` (relative path with '/'), `label` (class, -1 for none), and how to load it.

    `load` may run on any thread; it raises OSError, or InputError with a reason that completes "NAME ...".
    `mask_name` names the mask's file in messages. `image_id`: the number that the source has given it.
    """

    name: str
    label: int
    load: Callable[[], Loaded]
    mask_name: str = ""
    image_id: int | None = None


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
    `category_ids`: where the source numbers its images and classes, the number of each class; every item then has an
    `image_id`. `has_areas`: boxes come with areas. `description` is recorded in the store. `left_out`: what lies in the
    source and is no item of it.
    """

    classes: tuple[str, ...]
    items: Sequence[SourceItem]
    has_masks: bool = False
    has_boxes: bool = False
    ignore_index: int | None = None
    category_ids: tuple[int, ...] | None = None
    has_areas: bool = False
    description: str = ""
    left_out: LeftOut = field(default_factory=LeftOut)


def checked_names(largest: int, where: str, names: Sequence[str] | None, named_by: object) -> tuple[str, ...]:
    """`names`, or "0", "1", ... up to the largest label; raises InputError, naming `where` it is, for one too large.

    named_by: what gives the names.
    """
    if names is None and largest >= _MOST_UNNAMED:
        raise InputError(f"{where} would need {largest + 1:,} classes; correct it, or give the names of the classes")
    if names is not None and largest >= len(names):
        raise InputError(f"{where} is outside the {len(names)} classes that {named_by} names")
    return tuple(map(str, range(largest + 1)) if names is None else names)


def class_lines(path: str | Path) -> list[str]:
    """The lines of a file of class names; raises InputError for one that is a comment in some programs, not in all."""
    lines = read_lines(path, "class names")
    if unclear := [line for line in lines if line.startswith("#")]:
        raise InputError(
            f"{path} has the line {unclear[0]!r}, a comment or a name; put a space after the # of comments"
        )
    return lines


def names_in(path: str | Path) -> list[str]:
    """Names of the classes 0, 1, 2, ..., one a line; raises InputError for a name that comes twice."""
    names = class_lines(path)
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} has the class {name!r} twice; write each name once")
    return names


def natural_key(path: str) -> tuple[tuple[tuple[str | int, ...], str], ...]:
    """Sorts img2 before img10, folder by folder; '/' separates folders. Equal numbers ("01", "1") fall back to text."""
    # Splitting on a group alternates text and digits, so that two keys never compare a str with an int.
    split = ((re.split(r"([0-9]+)", folder), folder) for folder in path.split("/"))
    return tuple((tuple(int(p) if i % 2 else p for i, p in enumerate(parts)), folder) for parts, folder in split)

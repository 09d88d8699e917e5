"""Which class each value of a mask means: names from a file, values checked and turned into places in the list.

In a store, class k is the k-th name and the value of its pixels is k. Masks that come so are kept byte for byte, with
their ignore value, which is then K or more (CamVid: 0 to 10, 11 ignored). Others are renumbered without loss, and 255
is ignored (ADE20K: 1 to 150 become 0 to 149, and 0 becomes 255): a network has one output a class and none besides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..io.input_files import read_lines
from .mask_png import decode_mask, encode_mask

IGNORE = 255  # what most sets leave out, and what renumbered masks do
_NUMBERED = re.compile(r"(\d+)\s*:\s*(.+)")


@dataclass(frozen=True)
class MaskClasses:
    """`names` of the K classes, the `values` that they have in the source's masks, and the value `ignored` there."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignored: int

    def __post_init__(self) -> None:
        values = [*self.values, self.ignored]
        if not self.names or len(self.names) != len(self.values):
            raise InputError(f"masks need a class for each of their values: {len(self.names)} names are given")
        if not all(0 <= value <= 255 for value in values):
            raise InputError(f"values of masks are 0 to 255, ignored or not; got {min(values)} to {max(values)}")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise InputError(
                f"the mask value {twice} would have two meanings; name each class and the ignore index once"
            )

    @property
    def as_they_are(self) -> bool:
        """The values are the places in the list already."""
        return self.values == tuple(range(len(self.values)))

    @property
    def ignore_index(self) -> int:
        """What the store's masks hold where a pixel has no class."""
        return self.ignored if self.as_they_are else IGNORE

    def converted(self, data: bytes) -> bytes:
        """A single-channel uint8 PNG of the source's values as one of classes; InputError for a value of no class."""
        pixels = decode_mask(data)
        table = np.full(256, -1, np.int16)
        table[list(self.values)], table[self.ignored] = np.arange(len(self.values)), self.ignore_index
        unknown = np.flatnonzero((np.bincount(pixels.ravel(), minlength=256) > 0) & (table < 0))
        if unknown.size:
            low, high, count = min(self.values), max(self.values), len(self.values)
            raise InputError(
                f"has the value {unknown[-1]}, none of the {count} classes ({low} to {high}) "
                f"and not the ignore index {self.ignored}"
            )
        return data if self.as_they_are else encode_mask(table.astype(np.uint8)[pixels])


def in_order(names: Sequence[str], ignored: int) -> MaskClasses:
    """Values 0, 1, 2, ... for the names, leaving out the ignored one."""
    values = [value for value in range(len(names) + 1) if value != ignored]
    return MaskClasses(tuple(names), tuple(values[: len(names)]), ignored)


def from_file(path: str | Path, ignored: int) -> MaskClasses:
    """Classes from a text file: a name a line, for the values in order, or "VALUE: name"; empty lines are left out."""
    lines = read_lines(path, "class names")
    numbered = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    if numbered and len(numbered) < len(lines):
        raise InputError(f'{path} has lines with a value ("0: name") and lines without; write all in one way')
    if not numbered:
        return in_order(lines, ignored)
    return MaskClasses(tuple(match[2] for match in numbered), tuple(int(match[1]) for match in numbered), ignored)

"""Names of classes: in a text file, one a line, or numbers where there is no file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ..errors import InputError
from ..io.input_files import read_lines

_MOST_UNNAMED = 1 << 16  # our choice: a label above it is a mistake, not a class


def names_in(path: str | Path) -> list[str]:
    """Names of the classes 0, 1, 2, ..., one a line; raises InputError for a name that comes twice."""
    names = read_lines(path, "class names")
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} has the class {name!r} twice; write each name once")
    return names


def numbered(largest: int, where: str) -> tuple[str, ...]:
    """The names "0", "1", ... up to the largest label; raises InputError, naming `where` it is, for one too large."""
    if largest >= _MOST_UNNAMED:
        raise InputError(f"{where} would need {largest + 1:,} classes; correct it, or give the names of the classes")
    return tuple(map(str, range(largest + 1)))

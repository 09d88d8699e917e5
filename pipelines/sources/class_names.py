"""Class names: in a text file, one a line, or numbers where there are none."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..io.input_files import read_input

_MOST_UNNAMED = 1 << 16  # our choice: a label above it is a mistake, not a class


def lines_of(path: str | Path) -> list[str]:
    """The lines of a file of class names, stripped, without empty ones; raises InputError where there are none."""
    try:
        text = read_input(path).decode("utf-8")
    except OSError as error:
        raise InputError(f"cannot read the class names {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"the class names {path} are not UTF-8 text; give one name a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} has no class names; give one a line")
    return lines


def names_in(path: str | Path) -> list[str]:
    """Class names for the places 0, 1, 2, ...; raises InputError for a name that comes twice."""
    names = lines_of(path)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{path} has the class {twice!r} twice; give each name once")
    return names


def numbered(largest: int, where: str) -> tuple[str, ...]:
    """The names "0", "1", ... up to the largest label, found at `where`; raises InputError for one beyond belief."""
    if largest >= _MOST_UNNAMED:
        raise InputError(f"{where} would make as many classes; name them, or correct it")
    return tuple(map(str, range(largest + 1)))

"""Checks of plain values that a user gives: whole numbers, words, switches.

A number is no larger than can be meant, so that a slip ends at once. The limit of an option is named where the option
is declared, and given as `most`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from ..errors import InputError

MOST = 1 << 48
"""The limit of options that give none (our choice)."""


def is_whole(value: Any) -> TypeGuard[int]:
    """Whether it is an integer, Python's or NumPy's; True and False are none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def whole_number(name: str, value: Any, most: int = MOST) -> None:
    """Raise InputError unless `value` is an integer from 1 to `most`."""
    if not is_whole(value) or value < 1:
        raise InputError(f"{name} must be at least 1 and whole, got {value!r}")
    at_most(name, value, most)


def at_most(name: str, value: Any, most: int = MOST) -> None:
    """Raise InputError for a number above `most`."""
    if value > most:
        raise InputError(f"{name} must be at most {most:,}, got {value:,}")


def one_of(name: str, value: Any, words: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of the words."""
    if not (isinstance(value, str) and value in words):
        wanted = " or ".join(words) if len(words) == 2 else f"one of {', '.join(words)}"
        raise InputError(f"{name} must be {wanted}, got {value!r}")


def switch(name: str, value: Any) -> bool:
    """The value; raises InputError unless it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def checked_seed(seed: Any) -> int:
    """The seed as Python's int; raises InputError unless it is whole and within [0, 2^64)."""
    if not is_whole(seed):
        raise InputError(f"seed must be whole, got {seed!r}")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be within [0, 2^64), got {seed}")
    return int(seed)

"""Checks of a configuration's numbers and words, each an InputError that names the option."""

from __future__ import annotations

import math
from typing import Any, get_args

from ..pipelines.bounds import whole_number
from ..pipelines.errors import InputError


def check_count(name: str, value: int | None) -> None:
    """Whole, at least 1 and not beyond bounds.MOST, or None."""
    if value is None:
        return
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    whole_number(name, value)


def check_least(name: str, value: float | None, least: float) -> None:
    """At least `least` and finite, or None."""
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{name} must be at least {least} and finite, got {value}")


def check_share(name: str, value: float) -> None:
    """At least 0 and below 1."""
    if not 0 <= value < 1:
        raise InputError(f"{name} must be at least 0 and below 1, got {value}")


def check_choice(name: str, value: object, literal: Any) -> None:
    """One of a Literal's words."""
    if value not in get_args(literal):
        raise InputError(f"{name} must be one of {', '.join(get_args(literal))}, got {value!r}")

"""Checks of a configuration's numbers and words, each an InputError that names the option."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.bounds import MOST, whole_number


def take_python_numbers(config: Any) -> None:
    """Replace NumPy's numbers in a frozen dataclass, and in those in it, by Python's: JSON holds these."""
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            take_python_numbers(value)
        elif isinstance(value, np.generic):
            object.__setattr__(config, field.name, value.item())
        elif isinstance(value, tuple) and any(isinstance(each, np.generic) for each in value):
            plain = tuple(each.item() if isinstance(each, np.generic) else each for each in value)
            object.__setattr__(config, field.name, plain)


def check_count(name: str, value: int | None, most: int = MOST) -> None:
    """Whole and from 1 to `most`, or None."""
    if value is None:
        return
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    whole_number(name, value, most)


def check_least(name: str, value: float | None, least: float) -> None:
    """At least `least` and finite, or None."""
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{name} must be at least {least} and finite, got {value}")


def check_share(name: str, value: float) -> None:
    """At least 0 and below 1."""
    if not 0 <= value < 1:
        raise InputError(f"{name} must be at least 0 and below 1, got {value}")


def check_threshold(name: str, value: float) -> None:
    """Above 0 and at most 1, as a threshold of IoU."""
    if not 0 < value <= 1:
        raise InputError(f"{name} must be above 0 and at most 1, got {value}")


def check_choice(name: str, value: object, literal: Any) -> None:
    """One of a Literal's words."""
    if value not in get_args(literal):
        raise InputError(f"{name} must be one of {', '.join(get_args(literal))}, got {value!r}")

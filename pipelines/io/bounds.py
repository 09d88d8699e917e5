"""What numbers of a user may be: whole, at least 1, and no more than can be meant, so that a slip ends at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InputError

MOST = {
    "threads": 4096,
    "workers": 4096,
    "actors": 4096,
    "cpus": 4096,
    "batch_size": 1 << 20,
    "crops": 10_000,
    "classifier_crops": 10_000,
    "count": 10_000_000,
    "size": 1 << 14,
    "scales": 1 << 14,
    "grid": 1 << 12,
    "shorter_side": 65_500,
    "longer_side": 65_500,
    "orders": 1 << 36,
    "samples": 1 << 31,
    "shards": 100_000,
}
"""Our choices, by the names of options; all others may be at most MOST_OF_ANY."""

MOST_OF_ANY = 1 << 48


def whole_number(name: str, value: Any) -> None:
    """Raise InputError unless it is an integer of at least 1, and at most what MOST says of that name."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be at least 1 and whole, got {value!r}")
    at_most(name, value)


def at_most(name: str, value: Any) -> None:
    """Raise InputError for a number beyond what MOST says of that name."""
    most = MOST.get(name.replace(" ", "_"), MOST_OF_ANY)
    if value > most:
        raise InputError(f"{name} must be at most {most:,}, got {value:,}")


def checked_seed(seed: Any) -> int:
    """The seed as Python's int; InputError unless it is whole and within [0, 2^64)."""
    if not isinstance(seed, int | np.integer):
        raise InputError(f"seed must be whole, got {seed!r}")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be within [0, 2^64), got {seed}")
    return int(seed)

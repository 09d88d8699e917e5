"""Orders: position in the epoch -> sample index, a pure function of (labels, seed, epoch).

One signature for all; a rank's share is a slice of the result. An epoch's order of 10 million samples takes 80 MB.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .draws import Purpose, raw_words
from .errors import InputError

Order = Callable[[np.ndarray, int, int], np.ndarray]


def sequential(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """0, 1, 2, ...: int64 [N]."""
    return np.arange(len(labels), dtype=np.int64)


def shuffle(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """A uniformly random permutation, another one each epoch: int64 [N].

    Sorts words whose high bits are random and whose low bits are the index, which takes half of
    `Generator.permutation`'s time. Ties of the high bits fall by index; 32 bits and more of them make that negligible.
    """
    count = len(labels)
    index_bits = np.uint64(max(count - 1, 1).bit_length())
    low = (np.uint64(1) << index_bits) - np.uint64(1)
    keys = raw_words(seed, epoch, Purpose.ORDER, 0, -(-count // 4), words=4).reshape(-1)[:count]
    keys &= ~low
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    keys &= low
    return keys.view(np.int64)


ORDERS: dict[str, Order] = {"sequential": sequential, "shuffle": shuffle}


def order_named(name: str) -> Order:
    """The order of that name; raises InputError that lists the names."""
    if name not in ORDERS:
        raise InputError(f"no order is called {name!r}; there are {', '.join(ORDERS)}")
    return ORDERS[name]

"""Orders: position in the epoch -> sample index, a pure function of (labels, seed, epoch).

One signature for all; a rank's share is a slice of the result. An epoch's order of 10 million samples takes 80 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from .compiled import CACHE
from .draws import Purpose, raw_words
from .errors import InputError

_CHUNK = 2**20  # words held at a time, a multiple of the four of a block


class Order(NamedTuple):
    """How many positions an epoch has, and which sample stands at each."""

    length: Callable[[np.ndarray], int]
    """labels -> positions an epoch."""

    indices: Callable[[np.ndarray, int, int], np.ndarray]
    """labels, seed, epoch -> int64 [length]."""


def sequential(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """0, 1, 2, ...: int64 [N]."""
    return np.arange(len(labels), dtype=np.int64)


def shuffle(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """A uniformly random permutation, another one each epoch: int64 [N]."""
    order = np.arange(len(labels), dtype=np.int64)
    _shuffle_groups(order, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return order


def label_shuffle(labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Every class as often as the largest: int64 [classes * images of the largest class].

    A class's images stand in its list again and again, in an order that is random anew each epoch, until the list is
    as long as the largest class; all lists together are shuffled. So each image comes floor or ceil of (largest class
    / its class) times. Classes without images are left out. Source: "label shuffling" in the talk.
    """
    counts = _counts(labels)
    counts = counts[counts > 0]
    by_class = np.argsort(labels.astype(np.min_scalar_type(int(labels.max()))), kind="stable")  # radix sort where small
    ends = counts.cumsum()
    _shuffle_groups(by_class, ends - counts, seed, epoch, Purpose.CLASS_ORDER)
    lists = np.concatenate([np.resize(images, counts.max()) for images in np.split(by_class, ends[:-1])])
    _shuffle_groups(lists, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return lists


def label_shuffle_length(labels: np.ndarray) -> int:
    """Positions of an epoch in label_shuffle's order."""
    counts = _counts(labels)
    return int(np.count_nonzero(counts) * counts.max())


def _counts(labels: np.ndarray) -> np.ndarray:
    """int64 [classes]: images of each."""
    unlabelled = int(np.count_nonzero(labels < 0))
    if unlabelled:
        raise InputError(f"{unlabelled} of {len(labels)} samples have no label, which label_shuffle needs; use shuffle")
    return np.bincount(labels)


def _shuffle_groups(order: np.ndarray, starts: np.ndarray, seed: int, epoch: int, purpose: Purpose) -> None:
    """Shuffle `order` int64 [n] in place, each group for itself; starts int64, ascending: where the groups begin.

    Fisher and Yates's algorithm, some words at a time: five times as fast as sorting random keys, and without ties.
    """
    for first in range(len(order) // _CHUNK * _CHUNK, -1, -_CHUNK):
        count = min(len(order) - first, _CHUNK)
        words = raw_words(seed, epoch, purpose, first // 4, -(-count // 4), words=4).reshape(-1)[:count]
        _swap_down(order, words, first, starts)


@numba.njit("void(int64[::1], uint64[::1], int64, int64[::1])", cache=CACHE)
def _swap_down(order, words, first, starts):  # pragma: no cover
    """Swap places, first + words.size - 1 down to first, each with one at random before it in its group, or itself."""
    group = starts.size - 1
    for place in range(first + words.size - 1, first - 1, -1):
        while starts[group] > place:
            group -= 1
        start = starts[group]
        uniform = np.float64(words[place - first] >> np.uint64(11)) * 2.0**-53
        other = start + np.int64(uniform * (place - start + 1))
        order[place], order[other] = order[other], order[place]


ORDERS: dict[str, Order] = {
    "sequential": Order(len, sequential),
    "shuffle": Order(len, shuffle),
    "label_shuffle": Order(label_shuffle_length, label_shuffle),
}


def order_named(name: str) -> Order:
    """The order of that name; raises InputError that lists the names."""
    if name not in ORDERS:
        raise InputError(f"no order is called {name!r}; there are {', '.join(ORDERS)}")
    return ORDERS[name]

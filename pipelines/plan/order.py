"""Orders: position in the epoch -> sample index, a pure function of (labels, seed, epoch).

One signature for all; a rank's share is a slice of the result. An epoch's order of 10 million samples takes 80 MB.
Where images have several classes or none, labels are lists of the images of each class (order_lists), and all orders
hold as they are written: an image comes as a member of each of its classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np

from ..errors import InputError
from ..io.numba_cache import CACHE
from .class_lists import Labels, as_lists
from .random_words import Purpose, raw_words, uniforms

_CHUNK = 2**20  # words held at a time, a multiple of the four of a block


class Order(NamedTuple):
    """How many positions a pass has, and which sample stands at each."""

    name: str
    """Stands in a loader's state, with every parameter that changes the order."""

    length: Callable[[Labels], int]
    """labels -> positions a pass."""

    indices: Callable[[Labels, int, int], np.ndarray]
    """labels, seed, epoch -> int64 [length]."""


def sequential(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """0, 1, 2, ...: int64 [N]."""
    return np.arange(len(labels), dtype=np.int64)


def shuffle(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """A uniformly random permutation, another one each epoch: int64 [N]."""
    order = np.arange(len(labels), dtype=np.int64)
    _shuffle_groups(order, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return order


def label_shuffle(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """Every class as often as the largest: int64 [classes * images of the largest class].

    A class's images stand in its list again and again, in an order that is random anew each epoch, until the list is
    as long as the largest class; all lists together are shuffled. So each image comes floor or ceil of (largest class
    / its class) times. Classes without images are left out. Source: "label shuffling" in the talk.
    """
    lists = as_lists(labels)
    by_class, counts, ends = lists.images.copy(), lists.counts, lists.counts.cumsum()
    _shuffle_groups(by_class, ends - counts, seed, epoch, Purpose.CLASS_ORDER)
    repeated = np.concatenate([np.resize(images, counts.max()) for images in np.split(by_class, ends[:-1])])
    _shuffle_groups(repeated, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return repeated


def label_shuffle_length(labels: Labels) -> int:
    """Positions of a pass in label_shuffle's order."""
    counts = as_lists(labels).counts
    return int(len(counts) * counts.max())


def class_balanced(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """At each position a class at random, and of its list an image at random, independent of all others: int64 [N].

    Source: the talk ("balanced sampling": draw a class, then an image).
    """
    lists = as_lists(labels)
    words = raw_words(seed, epoch, Purpose.CLASS_ORDER, 0, -(-len(labels) // 2), words=4).reshape(-1, 2)[: len(labels)]
    u = (words >> np.uint64(11)) * 2.0**-53
    classes = (u[:, 0] * len(lists.counts)).astype(np.int64)
    places = (u[:, 1] * lists.counts[classes]).astype(np.int64)
    return lists.images[(lists.counts.cumsum() - lists.counts)[classes] + places]


def class_aware(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """Classes in turn, and of each class its images in turn: int64 [N].

    Each round shows every class once, in an order that is random anew; a class's list of images is shuffled anew when
    it has come to its end. Classes without images are left out. Source: class-aware sampling, Shen et al., ECCV 2016.
    """
    lists = as_lists(labels)
    counts = lists.counts
    rounds = -(-len(labels) // len(counts))
    cycles = -(-rounds // counts)
    members = np.split(lists.images, counts.cumsum()[:-1])
    images = np.concatenate([np.tile(own, times) for own, times in zip(members, cycles.tolist(), strict=True)])
    lengths = np.repeat(counts, cycles)  # of each list that is shuffled
    _shuffle_groups(images, lengths.cumsum() - lengths, seed, epoch, Purpose.CLASS_ORDER)
    turns = np.tile(np.arange(len(counts)), rounds)
    _shuffle_groups(turns, np.arange(rounds) * len(counts), seed, epoch, Purpose.ORDER)
    begins = (counts * cycles).cumsum() - counts * cycles
    return images[begins[turns] + np.arange(rounds).repeat(len(counts))][: len(labels)]


def repeat_factor(threshold: float | None = None) -> Order:
    """The order in which images of classes rarer than `threshold` (share of the images) come more often.

    An image comes r = max(1, sqrt(threshold / share of its class)) times a pass, by the rarest of its classes, 1
    where it has none; r is rounded up or down at random anew each pass. A pass always has the same length, the sum of
    all r rounded down; so where r lies between two whole numbers, its mean may be lower by at most one over the
    number of such images. None: one over the number of classes, so that those below an equal share come more often.
    Source: repeat-factor sampling, LVIS (Gupta et al., CVPR 2019).
    """
    if threshold is not None and not (isinstance(threshold, float | int) and 0 < threshold <= 1):
        raise InputError(f"the threshold of repeat_factor must be within (0, 1], got {threshold!r}")

    def factors(labels: Labels) -> np.ndarray:
        lists = as_lists(labels)
        of_class = np.sqrt((threshold or 1 / len(lists.counts)) / (lists.counts / len(labels)))
        result = np.ones(len(labels))
        np.maximum.at(result, lists.images, of_class.repeat(lists.counts))
        return result

    def length(labels: Labels) -> int:
        whole, rest = np.divmod(factors(labels), 1)
        return int(whole.sum()) + int(rest.sum())

    def indices(labels: Labels, seed: int, epoch: int) -> np.ndarray:
        mixed = shuffle(labels, seed, epoch)
        whole, rest = np.divmod(factors(labels), 1)
        times = whole[mixed].astype(np.int64)
        if more := length(labels) - int(whole.sum()):
            # Once more for each image that one of the points u, u + 1, ... falls on, if all rests lie end to end.
            reached = rest[mixed].cumsum()
            u = uniforms(seed, epoch, Purpose.CLASS_ORDER, 0, 1, 1)[0, 0]
            edges = np.ceil(reached * (more / reached[-1]) - u).astype(np.int64)
            edges[-1] = more
            times += np.diff(edges, prepend=0)
        listed = np.repeat(mixed, times)
        _shuffle_groups(listed, np.zeros(1, np.int64), seed, epoch, Purpose.REPEATED_ORDER)
        return listed

    return Order("repeat_factor" if threshold is None else f"repeat_factor({threshold:g})", length, indices)


def in_epochs_of(order: Order, positions: int) -> Order:
    """The same endless sequence of passes, cut into epochs of `positions`, as for sets too large for one.

    An epoch may end in mid-pass; the next goes on there, so nothing is left out or comes twice.
    """
    if not isinstance(positions, int | np.integer) or positions < 1:
        raise InputError(f"epoch_length must be at least 1 and whole, got {positions!r}")

    def indices(labels: Labels, seed: int, epoch: int) -> np.ndarray:
        whole, parts, position, stop = order.length(labels), [], epoch * positions, (epoch + 1) * positions
        while position < stop:
            number, start = divmod(position, whole)
            parts.append(order.indices(labels, seed, number)[start : start + stop - position])
            position += len(parts[-1])
        return np.concatenate(parts)

    return Order(f"{order.name} in epochs of {positions}", lambda labels: positions, indices)


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
    order.name: order
    for order in (
        Order("sequential", len, sequential),
        Order("shuffle", len, shuffle),
        Order("label_shuffle", label_shuffle_length, label_shuffle),
        Order("class_aware", len, class_aware),
        repeat_factor(),
        Order("class_balanced", len, class_balanced),
    )
}


def order_named(name: str | Order) -> Order:
    """The order of that name, or the one given; raises InputError that lists the names."""
    if isinstance(name, Order):
        return name
    if name not in ORDERS:
        raise InputError(f"no order is called {name!r}; there are {', '.join(ORDERS)}")
    return ORDERS[name]

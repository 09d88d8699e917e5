"""Orders: position in the epoch -> sample index, a pure function of (labels, seed, epoch).

All orders have one signature, and a rank's share is a slice of the result. An epoch's order of 10 million samples takes
80 MB. Where images have several classes or none, labels are lists of the images of each class (ClassLists); every order
then works as it is described, with an image as a member of each of its classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np

from ..errors import InputError
from ..io.bounds import whole_number
from ..io.numba_cache import CACHE
from .random_words import Purpose, raw_words, uniforms

_CHUNK = 2**20  # words held at a time, a multiple of the four of a block


@dataclass(frozen=True, eq=False)
class ClassLists:
    """A list of images for each class; an image may be in several lists, or in none.

    `images` int64 [M]: the lists, class by class, ascending in each; `counts` int64 [C]: their lengths, at least 1, as
    classes without images are left out; `length`: the number N of all images, also of those in no list.
    """

    images: np.ndarray
    counts: np.ndarray
    length: int

    def __len__(self) -> int:
        return self.length


Labels = np.ndarray | ClassLists
"""What orders go by: the class of each image, int [N], or the lists of classes."""


def lists_of(images: np.ndarray, labels: np.ndarray, length: int) -> ClassLists:
    """Lists from M pairs of image (int64, below `length`) and class; a pair that occurs twice counts once."""
    pairs = np.unique(labels.astype(np.int64) * length + images)
    counts = np.bincount(pairs // length)
    return ClassLists(pairs % length, counts[counts > 0], length)


def as_lists(labels: Labels) -> ClassLists:
    """Labels as lists; raises InputError where images have one class each and one has none."""
    if isinstance(labels, ClassLists):
        return labels
    unlabelled = int(np.count_nonzero(labels < 0))
    if unlabelled:
        raise InputError(f"{unlabelled} of {len(labels)} samples have no label, which this order needs; use shuffle")
    small = labels.astype(np.min_scalar_type(int(labels.max())))  # NumPy sorts small types by radix, much faster
    counts = np.bincount(labels)
    return ClassLists(np.argsort(small, kind="stable"), counts[counts > 0], len(labels))


class Order(NamedTuple):
    """A rule that says how many positions a pass over the store has, and which sample is at each of them."""

    name: str
    """Part of a loader's state, so it names every parameter that changes the order."""

    length: Callable[[Labels], int]
    """labels -> number of positions in a pass."""

    indices: Callable[[Labels, int, int], np.ndarray]
    """labels, seed, epoch -> int64 [length]."""


def sequential(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """0, 1, 2, ...: int64 [N]."""
    return np.arange(len(labels), dtype=np.int64)


def shuffle(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """A uniformly random permutation, another one in each epoch: int64 [N]."""
    order = np.arange(len(labels), dtype=np.int64)
    _shuffle_groups(order, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return order


def label_shuffle(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """Every class as often as the largest: int64 [classes * images of the largest class].

    The images of each class are shuffled and repeated until the list is as long as that of the largest class; then all
    lists together are shuffled. So an image comes up (images of the largest class / images of its class) times, rounded
    down or up. Classes without images are left out. Source: "label shuffling" in the talk.
    """
    lists = as_lists(labels)
    by_class, counts, ends = lists.images.copy(), lists.counts, lists.counts.cumsum()
    _shuffle_groups(by_class, ends - counts, seed, epoch, Purpose.CLASS_ORDER)
    repeated = np.concatenate([np.resize(images, counts.max()) for images in np.split(by_class, ends[:-1])])
    _shuffle_groups(repeated, np.zeros(1, np.int64), seed, epoch, Purpose.ORDER)
    return repeated


def label_shuffle_length(labels: Labels) -> int:
    """The number of positions in a pass of label_shuffle."""
    counts = as_lists(labels).counts
    return int(len(counts) * counts.max())


def class_balanced(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """At each position a random class and a random image of it, independent of all other positions: int64 [N].

    Source: the talk ("balanced sampling": draw a class, then an image).
    """
    lists = as_lists(labels)
    u = uniforms(seed, epoch, Purpose.CLASS_ORDER, 0, -(-len(labels) // 2), words=4).reshape(-1, 2)[: len(labels)]
    classes = (u[:, 0] * len(lists.counts)).astype(np.int64)
    within = (u[:, 1] * lists.counts[classes]).astype(np.int64)
    return lists.images[(lists.counts.cumsum() - lists.counts)[classes] + within]


def class_aware(labels: Labels, seed: int, epoch: int) -> np.ndarray:
    """Classes in turn, and of each class its images in turn: int64 [N].

    Each round shows every class once, in a new random order; a class's list of images is shuffled again when it has
    come to its end. Classes without images are left out. Source: class-aware sampling, Shen et al., ECCV 2016.
    """
    lists = as_lists(labels)
    counts = lists.counts
    rounds = -(-len(labels) // len(counts))
    cycles = -(-rounds // counts)
    members = np.split(lists.images, counts.cumsum()[:-1])
    images = np.concatenate([np.tile(listed, times) for listed, times in zip(members, cycles.tolist(), strict=True)])
    lengths = np.repeat(counts, cycles)  # a class's list is shuffled as many times as it is gone through
    _shuffle_groups(images, lengths.cumsum() - lengths, seed, epoch, Purpose.CLASS_ORDER)
    turns = np.tile(np.arange(len(counts)), rounds)
    _shuffle_groups(turns, np.arange(rounds) * len(counts), seed, epoch, Purpose.ORDER)
    begins = (counts * cycles).cumsum() - counts * cycles
    return images[begins[turns] + np.arange(rounds).repeat(len(counts))][: len(labels)]


def repeat_factor(threshold: float | None = None) -> Order:
    """The order in which images of classes rarer than `threshold` (share of the images) come more often.

    An image comes r = max(1, sqrt(threshold / share of its rarest class)) times in a pass, once where it has no class;
    r is rounded up or down at random in each pass. All passes have one length, the sum of all r rounded down; so where
    r lies between two whole numbers, its mean may be lower by at most one over the number of such images. The default
    threshold is one over the number of classes: classes below an equal share come more often. Source: repeat-factor
    sampling, LVIS (Gupta et al., CVPR 2019).
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
            # Systematic sampling: lay the fractions end to end; an image that one of the points u, u + 1, ... falls on
            # comes once more. So each is rounded up with a probability of its fraction, and the sum is always `more`.
            reached = rest[mixed].cumsum()
            u = uniforms(seed, epoch, Purpose.CLASS_ORDER, 0, 1, 1)[0, 0]
            edges = np.ceil(reached * (more / reached[-1]) - u).astype(np.int64)
            edges[-1] = more
            times += np.diff(edges, prepend=0)
        listed = np.repeat(mixed, times)
        _shuffle_groups(listed, np.zeros(1, np.int64), seed, epoch, Purpose.REPEATED_ORDER)
        return listed

    return Order("repeat_factor" if threshold is None else f"repeat_factor({threshold:g})", length, indices)


def listed(indices: np.ndarray) -> Order:
    """These indices, int64 [M], in every pass, as they come."""
    if not len(indices):
        raise InputError("the order lists no samples")
    return Order(f"listed {_digest(indices)}", lambda labels: len(indices), lambda labels, seed, epoch: indices)


def weighted(weights: np.ndarray) -> Order:
    """At each position a random image, in proportion to its weight and independent of all other positions: int64 [N].

    weights: float64 [N], at least 0, with a finite sum above 0.
    """
    with np.errstate(over="ignore"):
        reached = weights.cumsum()
    if not ((weights >= 0).all() and 0 < reached[-1] < np.inf):
        raise InputError("weights are finite and at least 0, and one or more is above 0; these are not")

    def indices(labels: Labels, seed: int, epoch: int) -> np.ndarray:
        blocks = -(-len(weights) // 4)
        u = uniforms(seed, epoch, Purpose.WEIGHTED_ORDER, 0, blocks, words=4).reshape(-1)[: len(weights)]
        # Below the sum, which a product rounded up could reach; "right" passes over weights of zero.
        return np.searchsorted(reached, np.minimum(u * reached[-1], np.nextafter(reached[-1], 0)), "right")

    return Order(f"weighted {_digest(weights)}", len, indices)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


def in_epochs_of(order: Order, positions: int) -> Order:
    """The same endless sequence of passes, cut into epochs of `positions`; for sets too large for a pass an epoch.

    An epoch may end in the middle of a pass; the next one goes on there, so nothing is left out or comes twice.
    """
    whole_number("epoch_length", positions)

    def indices(labels: Labels, seed: int, epoch: int) -> np.ndarray:
        whole, parts, position, stop = order.length(labels), [], epoch * positions, (epoch + 1) * positions
        while position < stop:
            number, start = divmod(position, whole)
            parts.append(order.indices(labels, seed, number)[start : start + stop - position])
            position += len(parts[-1])
        return np.concatenate(parts)

    return Order(f"{order.name} in epochs of {positions}", lambda labels: positions, indices)


def _shuffle_groups(order: np.ndarray, starts: np.ndarray, seed: int, epoch: int, purpose: Purpose) -> None:
    """Shuffle `order` int64 [n] in place, each group by itself; starts int64, ascending: where the groups begin.

    Fisher and Yates's algorithm, with a chunk of random words at a time so that they never take as much memory as the
    order: five times as fast as sorting by random keys, and without ties.
    """
    for first in range(len(order) // _CHUNK * _CHUNK, -1, -_CHUNK):
        count = min(len(order) - first, _CHUNK)
        words = raw_words(seed, epoch, purpose, first // 4, -(-count // 4), words=4).reshape(-1)[:count]
        _swap_down(order, words, first, starts)


@numba.njit("void(int64[::1], uint64[::1], int64, int64[::1])", cache=CACHE)
def _swap_down(order, words, first, starts):  # pragma: no cover
    """Swap entries first + words.size - 1 down to first, each with itself or a random one before it in its group."""
    group = starts.size - 1
    for entry in range(first + words.size - 1, first - 1, -1):
        while starts[group] > entry:
            group -= 1
        start = starts[group]
        uniform = np.float64(words[entry - first] >> np.uint64(11)) * 2.0**-53
        other = start + np.int64(uniform * (entry - start + 1))
        order[entry], order[other] = order[other], order[entry]


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

"""Random numbers as a pure function of (seed, epoch, purpose, position).

Raw words of NumPy's Philox, a counter-based generator whose raw stream NumPy keeps across versions: the key holds seed,
epoch and purpose, the counter the position and the attempt. Every position has a fixed number of words, so a batch may
be split anywhere, on any number of ranks, and the numbers stay the same. (`Generator.normal` and bounded integers
consume a varying number of words and may change between versions: neither is used.)
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..io.bounds import checked_seed

_WORDS_A_BLOCK = 4  # Philox 4x64 makes four words a counter step
_MAX_EPOCH = 2**56


class Purpose(IntEnum):
    """What the numbers are for. Each purpose has a separate stream, so that a new one leaves the others as they are."""

    ORDER = 0
    CROP = 1
    GUIDE = 2
    APPEARANCE = 3
    REPLACEMENT = 4
    CLASS_ORDER = 5
    REPEATED_ORDER = 6
    SIZE = 7
    VIEWS = 8
    WEIGHTED_ORDER = 9


def raw_words(
    seed: int, epoch: int, purpose: Purpose, start: int, count: int, words: int = 1, attempt: int = 0
) -> np.ndarray:
    """uint64 [count, words]: the words of positions start to start + count - 1.

    Inside, `words` is rounded up to whole Philox blocks. `attempt` numbers the draws of one position; it is 0 except
    for samples drawn again. Raises InputError for a seed or epoch that does not fit the key.
    """
    seed = checked_seed(seed)
    if not 0 <= epoch < _MAX_EPOCH:
        raise InputError(f"epoch must be within [0, 2^56), got {epoch}")
    blocks = -(-words // _WORDS_A_BLOCK)
    key = np.array([seed, epoch * 256 + purpose], np.uint64)
    philox = np.random.Philox(key=key, counter=np.array([start * blocks, attempt, 0, 0], np.uint64))
    raw = philox.random_raw(count * blocks * _WORDS_A_BLOCK)
    return raw.reshape(count, blocks * _WORDS_A_BLOCK)[:, :words]


def uniforms(
    seed: int, epoch: int, purpose: Purpose, start: int, count: int, words: int, attempt: int = 0
) -> np.ndarray:
    """float64 [count, words] in [0, 1), multiples of 2^-53."""
    return (raw_words(seed, epoch, purpose, start, count, words, attempt) >> np.uint64(11)) * 2.0**-53


def normals(u: np.ndarray) -> np.ndarray:
    """Standard normals by Box-Muller from uniforms in [0, 1): float64 [..., 2k] -> float64 [..., 2k]."""
    radius = np.sqrt(-2.0 * np.log1p(-u[..., 0::2]))
    angle = 2.0 * np.pi * u[..., 1::2]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


class Draws(NamedTuple):
    """The random numbers of `count` consecutive positions of an epoch, from `start` on."""

    seed: int
    epoch: int
    start: int
    count: int
    attempt: int
    step: int
    """The first position of the step, over all ranks, that the positions belong to."""

    def uniforms(self, purpose: Purpose, words: int) -> np.ndarray:
        """float64 [count, words] in [0, 1)."""
        return uniforms(self.seed, self.epoch, purpose, self.start, self.count, words, self.attempt)

    def one_of(self, values: np.ndarray, *, per_step: bool) -> np.ndarray:
        """One of `values` for the step, [1], or for each position, [count]; all are equally likely."""
        if per_step:  # whatever the rank and the attempt, as all samples of a step are alike
            u = uniforms(self.seed, self.epoch, Purpose.SIZE, self.step, 1, 1)
        else:
            u = self.uniforms(Purpose.SIZE, 1)
        return values[(u[:, 0] * len(values)).astype(np.int64)]

"""A rank's share of every epoch: which positions its batches hold, and the plan rows of those positions.

A step covers batch_size * world_size consecutive positions over all ranks, of which each rank has its block. The last
step of an epoch may be short: its n samples are shared out evenly, so that rank r has n // world_size of them, and one
more where r < n % world_size. With `pad` each rank has n / world_size, rounded up, and what lies beyond the end of the
epoch repeats its last position. Everything is a pure function of (seed, epoch, position), so any machine that has a
copy of the share and of the store can make any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..plan.order import ClassLists, Order
from ..plan.planner import Planner


class StepRows(NamedTuple):
    """The plan rows of one rank's batch, and the step that they belong to."""

    step: int
    """The first position that the step covers over all ranks, which names it."""

    rows: np.ndarray
    """See planner.PLAN."""


@dataclass(kw_only=True)
class Share:
    """What one rank serves of every epoch; it may be pickled. A step is named by the first position that it covers."""

    planner: Planner
    order: Order
    labels: np.ndarray | ClassLists
    """The classes that the order goes by."""
    seed: int
    batch_size: int
    """Samples in a batch of one rank."""
    rank: int
    world_size: int
    least: int
    """The fewest samples of a step: an epoch leaves out a last step that would have fewer."""
    pad: bool
    """A short last step is padded, so that all ranks have as many samples."""
    length: int
    """The number of positions in an epoch."""
    _indices_of: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    @property
    def step(self) -> int:
        """The number of positions that one step of all ranks covers."""
        return self.batch_size * self.world_size

    @property
    def end(self) -> int:
        """An epoch is over at the first step that begins here or later.

        A run may resume at any position, so steps need not begin at multiples of their size.
        """
        return max(self.length - self.least + 1, 0)

    def steps(self, position: int = 0) -> range:
        """The steps of an epoch, from `position` on, in which this rank has a batch that is not empty."""
        steps = range(position, self.end, self.step)
        return steps[:-1] if steps and not len(self._covered(steps[-1])) else steps

    def positions(self, step: int) -> np.ndarray:
        """The positions of this rank's batch in a step, int64 [n]; those of padding repeat the last of the epoch."""
        return np.minimum(self._covered(step), self.length - 1)

    def padding(self, step: int) -> np.ndarray:
        """Which samples of this rank's batch in a step are padding, bool [n]."""
        return self._covered(step) >= self.length

    def rows(self, epoch: int, step: int) -> StepRows:
        """The plan rows of this rank's batch in a step."""
        positions = self.positions(step)
        start, stop = (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (self.length, self.length)
        rows = self.planner.rows(epoch, start, self.indices(epoch)[start:stop], step=step)
        return StepRows(step, rows if len(rows) == len(positions) else rows[positions - start])

    def _covered(self, step: int) -> np.ndarray:
        """The positions of this rank's batch in a step, int64 [n]; those of padding lie beyond the end of the epoch."""
        left = min(self.length - step, self.step)
        size, more = divmod(left, self.world_size)
        if self.pad:
            size += more > 0
            start = step + self.rank * size
        else:
            start = step + self.rank * size + min(self.rank, more)
            size += self.rank < more
        return np.arange(start, start + size)

    def indices(self, epoch: int) -> np.ndarray:
        """The index of the sample at each position of an epoch, int64 [length]."""
        if self._indices_of is None or self._indices_of[0] != epoch:
            self._indices_of = epoch, self.order.indices(self.labels, self.seed, epoch)
        return self._indices_of[1]

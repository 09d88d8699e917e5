"""A rank's share of every epoch: which positions its batches hold, and the plan rows of those positions.

A step covers batch_size * world_size consecutive positions over all ranks, of which each rank has its block. The last
step of an epoch may be short: its n samples are shared out evenly, so that rank r has n // world_size of them, and one
more where r < n % world_size. Everything is a pure function of (seed, epoch, position), so any machine that has a copy
of the share and of the store can make any batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..plan.order import ClassLists, Order
from ..plan.planner import Planner, first_views


@dataclass(kw_only=True)
class Share:
    """What one rank serves of every epoch; it may be pickled.

    A step is named by the first position that it covers over all ranks.
    """

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
    """In a short last step, ranks with fewer samples than others repeat the last one of the epoch."""
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
        end = self.end if self.pad else min(self.end, self.length - self.rank)
        return range(position, max(end, position), self.step)

    def positions(self, step: int) -> slice:
        """The positions of this rank's batch in a step; none where there are fewer samples than ranks."""
        left = min(self.length - step, self.step)
        if self.pad:
            most = -(-left // self.world_size)
            start = min(step + self.rank * most, self.length)
            return slice(start, min(start + most, self.length))
        each, more = divmod(left, self.world_size)
        start = step + self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """The plan rows of this rank's batch in a step: those of `positions`, and behind them its repeats."""
        positions, indices = self.positions(step), self.indices(epoch)
        rows = self.planner.rows(epoch, positions.start, indices[positions], step=step)
        if repeats := self.repeats(step):
            last = self.planner.rows(epoch, self.length - 1, indices[self.length - 1 :], step=step)
            rows = np.concatenate([rows, *[last] * repeats])
        return rows

    def repeats(self, step: int) -> int:
        """How many samples at the end of this rank's batch in a step are repeats."""
        if not self.pad:
            return 0
        positions = self.positions(step)
        return -(-min(self.length - step, self.step) // self.world_size) - (positions.stop - positions.start)

    def empty_rows(self, epoch: int) -> np.ndarray:
        """The plan rows of a batch without samples."""
        return self.planner.rows(epoch, self.length, np.zeros(0, np.int64))

    def step_of(self, rows: np.ndarray, steps: Sequence[int]) -> int:
        """Which of these steps of one epoch a batch of this rank belongs to."""
        full = int(first_views(rows)["position"][0]) - self.rank * self.batch_size
        return full if full in steps else steps[-1]  # only the last one may be short, and begin elsewhere

    def indices(self, epoch: int) -> np.ndarray:
        """The index of the sample at each position of an epoch, int64 [length]."""
        if self._indices_of is None or self._indices_of[0] != epoch:
            self._indices_of = epoch, self.order.indices(self.labels, self.seed, epoch)
        return self._indices_of[1]

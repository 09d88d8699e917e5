"""A rank's share of every epoch: which positions its batches hold, and the plan rows of those positions.

Step t of an epoch covers the global positions [t * G, (t + 1) * G), G = batch_size * world_size, and rank r has the
r-th contiguous block of them. Everything is a pure function of (seed, epoch, position), so any machine that has a copy
of the share and of the store can make any batch.
"""

from __future__ import annotations

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
    drop_last: bool
    """Only full steps are served."""
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

        Under drop_last that is a step which would not be full. A run may resume at any position, so steps need not
        begin at multiples of their size.
        """
        if not self.drop_last:
            return self.length
        return self.length - self.step + 1 if self.length >= self.step else 0

    def steps(self, position: int = 0) -> range:
        """The steps of an epoch, from `position` on, in which this rank has a batch that is not empty."""
        offset = self.rank * self.batch_size
        return range(position, min(self.end, max(self.length - offset, position)), self.step)

    def positions(self, step: int) -> slice:
        """The positions of this rank's batch in a step."""
        start = step + self.rank * self.batch_size
        return slice(start, min(start + self.batch_size, self.length))

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """The plan rows of this rank's batch in a step."""
        positions = self.positions(step)
        return self.planner.rows(epoch, positions.start, self.indices(epoch)[positions], step=step)

    def empty_rows(self, epoch: int) -> np.ndarray:
        """The plan rows of a batch without samples."""
        return self.planner.rows(epoch, self.length, np.zeros(0, np.int64))

    def step_of(self, rows: np.ndarray) -> int:
        """The step that a batch of this rank belongs to."""
        return int(first_views(rows)["position"][0]) - self.rank * self.batch_size

    def indices(self, epoch: int) -> np.ndarray:
        """The index of the sample at each position of an epoch, int64 [length]."""
        if self._indices_of is None or self._indices_of[0] != epoch:
            self._indices_of = epoch, self.order.indices(self.labels, self.seed, epoch)
        return self._indices_of[1]

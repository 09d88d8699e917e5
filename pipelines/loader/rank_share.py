"""A rank's share of every epoch: which positions its batches hold, and the plan rows that stand there.

Step t of an epoch covers the global positions [t * G, (t + 1) * G), G = batch_size * world_size; rank r has the r-th
contiguous block of them. All is a pure function of (seed, epoch, position), so any machine with a copy of the share and
of the store can make any batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..plan.class_lists import ClassLists
from ..plan.classification import first_views
from ..plan.order import Order


class Planner(Protocol):
    """Makes the plan rows of a run of positions."""

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray: ...


@dataclass(kw_only=True)
class Share:
    """What one rank is to serve; may be pickled."""

    planner: Planner
    order: Order
    labels: np.ndarray | ClassLists
    """What the order goes by."""
    seed: int
    batch_size: int
    """Per rank."""
    rank: int
    world_size: int
    drop_last: bool
    """Only full steps are served."""
    length: int
    """Positions an epoch."""
    _indices_of: tuple[int, np.ndarray] | None = field(default=None, init=False, repr=False)

    @property
    def step(self) -> int:
        """Positions that one step of all ranks covers."""
        return self.batch_size * self.world_size

    @property
    def end(self) -> int:
        """The position at which an epoch is over, counted from where an iteration began it."""
        if not self.drop_last:
            return self.length
        return self.length - self.step + 1 if self.length >= self.step else 0

    def steps(self, position: int = 0) -> range:
        """First positions of the steps of an epoch from `position` on in which this rank has a batch."""
        own = self.rank * self.batch_size
        return range(position, min(self.end, max(self.length - own, position)), self.step)

    def positions(self, step: int) -> slice:
        """This rank's positions in the step that begins at that one."""
        start = step + self.rank * self.batch_size
        return slice(start, min(start + self.batch_size, self.length))

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """Plan rows of this rank's batch in the step that begins at that position."""
        own = self.positions(step)
        return self.planner.rows(epoch, own.start, self.indices(epoch)[own], step=step)

    def no_rows(self, epoch: int) -> np.ndarray:
        """Those of an empty batch."""
        return self.planner.rows(epoch, self.length, np.zeros(0, np.int64))

    def step_of(self, rows: np.ndarray) -> int:
        """The first position of the step that a batch belongs to."""
        return int(first_views(rows)["position"][0]) - self.rank * self.batch_size

    def indices(self, epoch: int) -> np.ndarray:
        """The sample at each position of an epoch, int64 [length]."""
        if self._indices_of is None or self._indices_of[0] != epoch:
            self._indices_of = epoch, self.order.indices(self.labels, self.seed, epoch)
        return self._indices_of[1]

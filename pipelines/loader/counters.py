"""Who waits for whom: the trainer for a batch, or a finished batch for the trainer.

DALI does not tell when a batch was finished, only whether one has to be waited for. So the idle time is estimated from
above: where a batch was ready when the trainer asked for it, the whole time that the trainer took with the batch before
is counted, as the loader stood still for at most so long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

READY_SECONDS = 1e-3  # a batch that DALI hands over sooner was ready; making one takes longer


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What has happened on this rank since the loader was made, over all epochs, resumptions and `break`s."""

    batches: int = 0
    samples: int = 0

    ready: int = 0
    """Batches that were finished when the trainer asked for them; on busy cores some are finished but not counted."""

    wait_seconds: float = 0.0
    """Time that the trainer spent in next(loader), whether for pixels, plan rows, or the start of DALI."""

    idle_seconds: float = 0.0
    """Time for which finished batches waited for the trainer, at most."""


class Waiting:
    """Keeps the counters of a loader; `on_batch`, where it is set, is called with them before each batch goes out."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.on_batch: Callable[[Counters], None] | None = None
        self._asked = self._handed_out = 0.0

    def begin(self) -> None:
        """A new iteration asks for its first batch."""
        self._asked = self._handed_out = time.perf_counter()

    def ask(self) -> None:
        """The trainer has come back for the next batch."""
        self._asked = time.perf_counter()

    def hand_out(self, samples: int, *, ready: bool) -> None:
        """A batch is about to go out; ready: it was finished before it was asked for."""
        before, now = self.counters, time.perf_counter()
        self.counters = Counters(
            batches=before.batches + 1,
            samples=before.samples + samples,
            ready=before.ready + ready,
            wait_seconds=before.wait_seconds + now - self._asked,
            idle_seconds=before.idle_seconds + (self._asked - self._handed_out if ready else 0.0),
        )
        if self.on_batch is not None:
            self.on_batch(self.counters)
        self._handed_out = time.perf_counter()

"""Who waits for whom: the trainer for a batch, or a finished batch for the trainer.

DALI does not tell when a batch was finished, only whether one has to be waited for. So the idle time is what the
trainer took with its batch, summed over the next ones that were there when it asked for them: the loader stood still
for at most so long.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

READY_SECONDS = 1e-3  # in DALI, beside feeding it: less than any batch takes that has still to be made


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Since the loader was made; over all epochs, resumptions and `break`s, on this rank."""

    batches: int = 0
    samples: int = 0

    ready: int = 0
    """Batches that were finished when the trainer asked for them; on busy cores some come too late to be counted."""

    wait_seconds: float = 0.0
    """Of the trainer in next(loader), be it for pixels, plan rows, or DALI's start."""

    idle_seconds: float = 0.0
    """Of finished batches, not yet asked for: at most."""


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
        then, now = self.counters, time.perf_counter()
        self.counters = Counters(
            batches=then.batches + 1,
            samples=then.samples + samples,
            ready=then.ready + ready,
            wait_seconds=then.wait_seconds + now - self._asked,
            idle_seconds=then.idle_seconds + (self._asked - self._handed_out if ready else 0.0),
        )
        if self.on_batch is not None:
            self.on_batch(self.counters)
        self._handed_out = time.perf_counter()

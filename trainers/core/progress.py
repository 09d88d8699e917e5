"""How far a run has come and what it has cost; saved in its checkpoints (as `standing`), so it goes on when resumed."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(kw_only=True)
class RunProgress:
    """Counts since the very first start of a run."""

    epoch: int = 0
    """Epochs finished, their evaluation included."""

    step: int = 0
    """Steps taken, which is also the number of the next step."""

    images: int = 0
    """Images trained on, over all ranks."""

    loop_seconds: float = 0.0
    """Time within training epochs, by this rank's clock."""

    wait_seconds: float = 0.0
    """The part of it in which training waited for a batch."""

    wall_seconds: float = 0.0
    """All time, with start and evaluations, but without what was lost between the last save and a kill."""

    cpu_seconds: float = 0.0
    """CPU time of all threads of all ranks."""

    score: float | None = None
    """Score of the last evaluation."""

    best_score: float | None = None
    """The highest score of the run."""

    def rates_since(self, then: RunProgress) -> dict[str, float]:
        """Images a second, and the share of the time in which training waited for data, since `then`."""
        seconds = self.loop_seconds - then.loop_seconds
        images, wait = self.images - then.images, self.wait_seconds - then.wait_seconds
        if seconds <= 0:
            return {"images_per_second": 0.0, "data_wait_share": 0.0}
        return {"images_per_second": images / seconds, "data_wait_share": wait / seconds}


class Stopwatch:
    """Wall and CPU seconds (of all threads of this process) since the last lap."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def lap(self) -> tuple[float, float]:
        """Wall and CPU seconds since the last call, or since this was made."""
        wall, cpu = time.perf_counter(), time.process_time()
        since = wall - self._wall, cpu - self._cpu
        self._wall, self._cpu = wall, cpu
        return since

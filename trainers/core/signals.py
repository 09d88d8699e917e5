"""Ctrl-C and SIGTERM (what a preemptible machine sends) end a run after the current step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """The run ends between two steps, or two batches of an evaluation; `signal` is the signal that asked for it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = signal.Signals(number)


class StopSignals:
    """Context manager: a first signal is only remembered in `received`, a second Ctrl-C interrupts at once.

    Python lets only the main thread handle signals; in other threads nothing is changed.
    """

    def __init__(self) -> None:
        self.received: int = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._remember) for number in _HANDLED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, total: float) -> int:
        """The signal to stop for, 0 for none; `total` is the sum over the ranks of what they received."""
        return self.received or (signal.SIGTERM if total else 0)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = self.received or number

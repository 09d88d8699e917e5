"""How a run is doing, on stderr: one live line with a bar on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 60.0


class Display(Protocol):
    """Shows the run's step and a few words on how it is doing; `say` leaves a line that stays."""

    def show(self, step: int, text: str) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self) -> None: ...


class Silent:
    """For the ranks that do not report."""

    def show(self, step: int, text: str) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self) -> None: ...


class Bar:
    """A live line: bar, steps, words, remaining time."""

    def __init__(self, steps: int, done: int, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.description}", markup=False)
        self._progress = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
        self._task = self._progress.add_task("starting", total=steps, completed=done)
        self._progress.start()

    def show(self, step: int, text: str) -> None:
        self._progress.update(self._task, completed=step, description=text)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class Lines:
    """For a file or a pipe: a line at most every minute, with the remaining time at the pace since the start."""

    def __init__(self, steps: int, done: int) -> None:
        self._steps, self._done = steps, done
        self._begun = self._shown = time.monotonic()

    def show(self, step: int, text: str) -> None:
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            left = (now - self._begun) / max(step - self._done, 1) * (self._steps - step)
            self.say(f"step {step:,} of {self._steps:,}, {text}, {left:,.0f} s left")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None: ...


def display(steps: int, done: int) -> Display:
    """What suits stderr, for a run of `steps` steps of which `done` are done."""
    return Bar(steps, done) if sys.stderr.isatty() else Lines(steps, done)

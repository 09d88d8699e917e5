"""How far a long job is, on stderr: a live line with a bar on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 60.0


class Track(Protocol):
    """Wraps an iterable of `total` items: `track(items, total, "building")`; what `progress=` arguments take.

    Closing the generator, as after an error, ends the display at once.
    """

    def __call__(self, items: Iterable[Item], total: int, what: str) -> Generator[Item, None, None]: ...


def silent(items: Iterable[Item], total: int, what: str) -> Generator[Item, None, None]:
    """Shows nothing."""
    yield from items


def track(items: Iterable[Item], total: int, what: str) -> Generator[Item, None, None]:
    """Shows on stderr how many of `total` items have passed, how fast, and the time that remains."""
    begun = time.monotonic()
    with closing(display(total, what=what)) as shown:
        for done, item in enumerate(items, 1):
            yield item
            shown.show(done, f"{done / max(time.monotonic() - begun, 1e-9):,.0f}/s")


class Display:
    """Shows how much of a job is done and a few words on it; this one, of the ranks that do not report, nothing."""

    def show(self, done: int, text: str) -> None:
        """Call after each step."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def close(self) -> None:
        """End the display."""


class Bar(Display):
    """On a terminal: one live line with a bar, the count, the words and the remaining time."""

    def __init__(self, total: int, done: int = 0, what: str = "step", console: Any = None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._console = console or Console(stderr=True)
        count = TextColumn(what, markup=False), BarColumn(bar_width=20), MofNCompleteColumn()
        words = TextColumn("{task.description}", markup=False)
        self._progress = Progress(*count, words, TimeRemainingColumn(), console=self._console)
        self._task = self._progress.add_task("", total=total, completed=done)
        self._progress.start()

    def show(self, done: int, text: str) -> None:
        self._progress.update(self._task, completed=done, description=text)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class Lines(Display):
    """For a file or a pipe: a line at most every minute, with the remaining time at the pace since the start."""

    def __init__(self, total: int, done: int = 0, what: str = "step") -> None:
        self._total, self._before, self._what = total, done, what
        self._begun = self._shown = time.monotonic()

    def show(self, done: int, text: str) -> None:
        now = time.monotonic()
        if now - self._shown >= SECONDS_BETWEEN_LINES:
            self._shown = now
            left = (now - self._begun) / max(done - self._before, 1) * (self._total - done)
            self.say(f"{self._what} {done:,} of {self._total:,}, {text}, {left:,.0f} s left")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def display(total: int, done: int = 0, what: str = "step") -> Display:
    """What suits stderr, for a job of `total` steps or items of which `done` are done."""
    return Bar(total, done, what) if sys.stderr.isatty() else Lines(total, done, what)

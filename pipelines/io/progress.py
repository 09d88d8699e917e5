"""How far a long job is, on stderr: a bar with count, rate and remaining time on a terminal, else a line a minute."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
_SECONDS_BETWEEN_LINES = 60.0


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
    with _bar(total, what) if sys.stderr.isatty() else _lines(total, what) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def _bar(total: int, what: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), Remaining()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _lines(total: int, what: str) -> Iterator[Any]:
    begun = shown = time.monotonic()
    done = 0

    def advance() -> None:
        nonlocal done, shown
        done += 1
        now = time.monotonic()
        if now - shown >= _SECONDS_BETWEEN_LINES:
            shown = now
            rate = done / (now - begun)
            print(f"{what}: {done:,} of {total:,}, {rate:,.0f}/s, {(total - done) / rate:,.0f} s left", file=sys.stderr)

    yield advance

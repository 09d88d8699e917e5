"""A thread pool whose results come in order and whose unfinished work is bounded, so that memory is too."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT = 64  # our choice: keeps workers busy while the consumer writes 64 MB, and holds few megabytes


def worker_count(workers: int | None) -> int:
    """`workers` checked, or the CPUs this process may use."""
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    return workers or len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None
) -> Generator[Result, None, None]:
    """`map` on threads: results in the order of `items`, at most 64 items, or 4 a worker, begun and not yet handed out.

    An exception of `function` is raised at its place in the order. Then, and when the generator is closed, what has not
    begun never does, and what has is waited for.
    """
    workers = worker_count(workers)
    pending: deque[Future[Result]] = deque()
    limit = max(_IN_FLIGHT, 4 * workers)
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= limit:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

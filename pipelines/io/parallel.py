"""`map` on threads: results come in order, and only so many items are ahead that memory stays bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from resource import RUSAGE_THREAD, getrusage
from typing import TypeVar

from ..errors import InputError
from .bounds import at_most

Item = TypeVar("Item")
Result = TypeVar("Result")
_IN_FLIGHT = 64  # our choice: keeps workers busy while the consumer writes, and holds few megabytes
_TRIED, _ON_THREADS = 16, 512  # items on the caller's thread, and then, if they are slow, items for each worker
_MOST_WORKERS = 4096
_LONG = 5e-4  # CPU seconds of an item, ten times what handing it to a thread and back costs on busy cores


def worker_count(workers: int | None) -> int:
    """`workers` checked, or the CPUs this process may use."""
    if workers is not None and workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}")
    if workers is not None:
        at_most("workers", workers, _MOST_WORKERS)
    return workers or len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None
) -> Generator[Result, None, None]:
    """`map` on threads: results in the order of `items`, at most 64 items, or 4 a worker, begun and not yet handed out.

    An exception of `function` is raised in the turn of its item. Then, and when the generator is closed, items that
    have not begun are dropped, and those that have are waited for.
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


def adaptive_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None
) -> Generator[Result, None, None]:
    """`ordered_map` that hands items to threads only where that pays: where they wait (disk, network) or compute.

    To read a file that lies in memory takes less time than to hand it to a thread and back, as threads share Python's
    lock. So a few items are tried on the caller's thread first, and only slow ones are followed by many on threads.
    """
    workers = worker_count(workers)
    remaining = iter(items)
    while tried := list(islice(remaining, _TRIED)):
        seconds = waits = 0.0
        for item in tried:
            before = getrusage(RUSAGE_THREAD)
            result = function(item)
            after = getrusage(RUSAGE_THREAD)
            seconds += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            waits += after.ru_nvcsw - before.ru_nvcsw
            yield result
        if seconds > _LONG * len(tried) or waits > len(tried) / 2:
            yield from ordered_map(function, islice(remaining, _ON_THREADS * workers), workers)

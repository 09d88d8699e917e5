"""Threads whose results come in order, boundedly ahead, with errors at their place."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.parallel import adaptive_map, ordered_map, worker_count


@pytest.mark.parametrize("mapped", [ordered_map, adaptive_map])
@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order(workers: int, mapped: Callable[..., Iterator[int]]) -> None:
    """Whatever each takes, results come in the order of the items."""

    def slow(item: int) -> int:
        time.sleep(random.random() / 500)
        return item * item

    assert list(mapped(slow, range(200), workers)) == [item * item for item in range(200)]


def test_no_more_than_64_are_ahead() -> None:
    """Items are taken only as results are, so memory is bounded."""
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), 2)
    assert next(results) == 0 and len(taken) == 64
    assert next(results) == 1 and len(taken) == 65


def test_an_error_is_raised_at_its_place() -> None:
    """Results before it arrive, then the error; threads are gone afterwards."""
    results = ordered_map(lambda item: 1 // (item - 5), range(10), 2)
    assert [next(results) for _ in range(5)] == [1 // (item - 5) for item in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


def test_workers_are_at_least_one() -> None:
    """None means the CPUs of this process."""
    assert worker_count(None) >= 1 and worker_count(7) == 7
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        worker_count(0)


def _wait(_: int) -> str:
    time.sleep(0.001)
    return threading.current_thread().name


def _compute(_: int) -> str:
    sum(range(150_000))
    return threading.current_thread().name


@pytest.mark.slow
@pytest.mark.parametrize("slow", [_wait, _compute])
def test_only_slow_items_go_to_threads(slow: Callable[[int], str]) -> None:
    """Quick items stay on the caller's thread; after 16 that wait or compute, the next 512 a worker do not."""
    here = threading.current_thread().name
    quick = adaptive_map(lambda _: threading.current_thread().name, range(2000), 2)
    assert set(quick) == {here}
    on = [name == here for name in adaptive_map(slow, range(1060), 2)]
    assert on == [True] * 16 + [False] * 1024 + [True] * 16 + [False] * 4


def test_an_error_of_an_item_on_trial_is_raised_at_its_place() -> None:
    """As on threads."""
    results = adaptive_map(lambda item: 1 // (item - 5), range(10), 2)
    assert [next(results) for _ in range(5)] == [1 // (item - 5) for item in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        next(adaptive_map(str, range(3), 0))

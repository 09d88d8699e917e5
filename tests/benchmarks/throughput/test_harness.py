from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial

import pytest

from sdali.benchmarks.hardware import machine
from sdali.benchmarks.throughput import peer_process
from sdali.benchmarks.throughput.harness import measure_in_turn
from sdali.benchmarks.throughput.peer_process import Peer, steady


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def burning(cost: float) -> Peer:
    """Batches of 5, two a pass, each costing `cost` seconds; the first pass, the warm-up, costs more."""
    passes = iter(range(1000))

    def one_pass() -> Iterator[int]:
        first = next(passes) == 0
        for _ in range(2):
            burn(0.2 if first else cost)
            yield 5

    return Peer(one_pass, "nothing")


def missing() -> Peer:
    import no_such_package  # type: ignore[import-not-found]  # noqa: F401

    raise AssertionError


def dying() -> Peer:
    def one_pass() -> Iterator[int]:
        os._exit(3)
        yield 1

    return Peer(one_pass, "")


@pytest.mark.slow
@pytest.mark.perf
def test_each_peer_is_charged_its_own_time() -> None:
    """A peer that works four times as long an image is charged about four times as much; warm-up is left out."""
    peers = [("slow", partial(burning, 0.04)), ("quick", partial(burning, 0.01))]
    measured = measure_in_turn(peers, rounds=3, images=10)
    assert 3 < measured[0].ratio(measured[1]) < 5
    slow, quick = (one.result() for one in measured)
    assert slow["rounds"] == 3 and slow["lacks"] == "nothing"
    assert 7 < slow["cpu_ms_per_image"] < 12 and 3 < slow["cpu_ms_per_image"] / quick["cpu_ms_per_image"] < 5
    assert slow["images_per_second"] < quick["images_per_second"] < 1000
    assert slow["peak_memory_mb"] > 0


@pytest.mark.slow
def test_a_peer_that_fails_does_not_end_the_benchmark() -> None:
    peers = [("missing", missing), ("dying", dying), ("good", partial(burning, 0.01))]
    results = [one.result() for one in measure_in_turn(peers, rounds=1, images=10)]
    assert results[0] == {"peer": "missing", "failure": "not installed (No module named 'no_such_package')"}
    assert results[1] == {"peer": "dying", "failure": "its process died (exit status 3)"}
    assert results[2]["rounds"] == 1


def test_the_machine_is_described() -> None:
    described = machine()
    assert described["cores"] >= 1 and described["memory_gib"] > 0
    assert {"torch", "numpy", "numba"} <= set(described["versions"])


def still() -> Peer:
    def one_pass() -> Iterator[int]:
        time.sleep(1000)
        yield 1

    return Peer(one_pass, "")


def quoting() -> Peer:
    raise RuntimeError(
        "Caught OSError in worker 0.\nOriginal Traceback (most recent call last):\n  File x\nOSError: no.jpg"
    )


@pytest.mark.slow
@pytest.mark.perf
def test_a_peer_that_stands_still_is_ended(monkeypatch) -> None:
    monkeypatch.setattr(peer_process, "_PATIENCE", 1.0)
    begun = time.monotonic()
    (own,) = measure_in_turn([("still", still)], rounds=1, images=10)
    assert own.failure.startswith("stood still for 1 s") and time.monotonic() - begun < 20


@pytest.mark.slow
def test_a_failure_that_quotes_a_traceback_is_its_last_line() -> None:
    (own,) = measure_in_turn([("quoting", quoting)], rounds=1, images=10)
    assert own.failure == "RuntimeError: OSError: no.jpg"


def test_a_steady_stream_is_gone_on_with_once_what_was_ready_is_used_up() -> None:
    """Of each turn the first batches, which are there at once, do not count; the others take 0.02 s each."""
    taken = []

    def batches() -> Iterator[int]:
        for number in range(100):
            if number % 8 >= 3:
                time.sleep(0.02)
            taken.append(number)
            yield 10

    endless = batches()
    for turn in (1, 2):
        found = steady(lambda: endless, 50, 3)
        assert found.images == 50 and 0.1 <= found.wall < 0.3 and found.cpu < 0.1
        assert taken == list(range(8 * turn))

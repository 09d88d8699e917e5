"""Rates between two standings, and laps that add up."""

from __future__ import annotations

import time

from sdali.trainers.core.progress import RunProgress, Stopwatch


def test_rates_are_differences() -> None:
    """Images by loop seconds and waiting by loop seconds since an earlier standing; 0 where no time has passed."""
    then = RunProgress(images=100, loop_seconds=10, wait_seconds=1)
    now = RunProgress(images=300, loop_seconds=14, wait_seconds=2, wall_seconds=99)
    assert now.rates_since(then) == {"images_per_second": 50, "data_wait_share": 0.25}
    assert now.rates_since(now) == {"images_per_second": 0, "data_wait_share": 0}


def test_laps_add_up_to_the_whole() -> None:
    """Each lap starts where the last ended; sleeping costs wall time and hardly any of the CPU's."""
    begun = time.perf_counter()
    stopwatch = Stopwatch()
    time.sleep(0.05)
    first = stopwatch.lap()
    second = stopwatch.lap()
    assert 0.05 <= first[0] + second[0] <= time.perf_counter() - begun
    assert first[1] < first[0]

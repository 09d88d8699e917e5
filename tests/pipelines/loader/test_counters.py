"""Waiting is counted on the side that waits."""

from __future__ import annotations

import time

import pytest
from loading import make
from pictures import make_store

from sdali.pipelines import ImageStore, classification
from sdali.pipelines.loader.counters import Counters


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 96)


@pytest.mark.perf
def test_a_slow_trainer_lets_batches_lie_idle(store: ImageStore) -> None:
    """It takes 0.2 s with each of 6 batches: those after the first were ready, for at most that long.

    On a busy machine even a finished batch may take a millisecond to come, and then counts as waited for; so the best
    of some epochs is looked at.
    """
    for _ in range(6):
        loader = make(store)
        begun = time.perf_counter()
        for _ in loader:
            time.sleep(0.2)
        seconds, found = time.perf_counter() - begun, loader.counters
        assert (found.batches, found.samples) == (6, 96)
        if found.ready >= 3:
            break
    assert found.ready >= 3 and 0.2 * found.ready - 0.2 <= found.idle_seconds <= seconds - found.wait_seconds


@pytest.mark.perf
def test_a_slow_loader_keeps_the_trainer_waiting(store: ImageStore) -> None:
    """Where each heatmap takes 5 ms, the time of an epoch is spent in waiting, and hardly any batch was ready."""

    class Slow:
        def __len__(self) -> int:
            return len(store)

        def __getitem__(self, index: int):
            time.sleep(0.005)
            return maps[index]

    maps = make(store)._share.planner.heatmaps  # type: ignore[attr-defined]
    loader = make(store, heatmaps=Slow())
    for _ in loader:
        pass
    assert loader.counters.wait_seconds >= 96 * 0.005 and loader.counters.idle_seconds < 0.05


def test_what_is_counted_between_is_the_trainers_own_time(store: ImageStore) -> None:
    """Waiting, and the time away with batches, are all of an epoch's time; they add up over epochs and `break`."""
    loader, seconds, away = make(store), 0.0, 0.0
    for stop in (6, 2):
        begun = time.perf_counter()
        for number, _ in enumerate(loader, 1):
            time.sleep(0.03)
            away += 0.03
            if number == stop:
                break
        seconds += time.perf_counter() - begun
    assert loader.counters.batches == 8 and loader.counters.samples == 8 * 16
    assert loader.counters.wait_seconds <= seconds - away


def test_a_hook_sees_each_batch_before_the_trainer_does(store: ImageStore) -> None:
    """Also an empty one; None takes it away again."""
    seen: list[Counters] = []
    loader = classification.test_loader(store, batch_size=19, size=16, device="cpu", rank=4, world_size=5)
    loader.on_batch(seen.append)
    counts = []
    for batch in loader:
        counts.append(len(batch["index"]))
        assert len(seen) == len(counts) and seen[-1] == loader.counters
    assert [after.samples for after in seen] == [counts[0], sum(counts)] and counts[-1] == 0
    loader.on_batch(None)
    list(loader)
    assert len(seen) == 2 and loader.counters.batches == 4

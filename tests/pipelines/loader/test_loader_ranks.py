"""Ranks share an epoch out exactly, and a state restores on any of them: by positions alone, with a pipeline of none.

The real pipelines are held to the same contract in test_contract_resume, on fewer cases.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from sdali.pipelines.loader.batches import Batches
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.loader.options import Settings
from sdali.pipelines.plan.order import order_named
from sdali.pipelines.plan.planner import PLAN
from sdali.pipelines.store.statistics import IMAGENET


class Planner:
    """Rows that say where they stand."""

    def rows(
        self, epoch: int, start: int, indices: np.ndarray, attempt: int = 0, step: int | None = None
    ) -> np.ndarray:
        rows = np.zeros(len(indices), PLAN)
        rows["position"], rows["index"] = start + np.arange(len(rows)), indices
        return rows


class Pipeline:
    """Asks for three batches ahead, as DALI does, and hands them over in order."""

    def __init__(self, source: Callable[[], Any]) -> None:
        self._source, self._ahead, self._has_ended = source, deque(), False

    def run(self) -> tuple[Any]:
        while len(self._ahead) < 3 and not self._has_ended:
            try:
                self._ahead.append(self._source())
            except StopIteration:
                self._has_ended = True
        if not self._ahead:
            raise StopIteration
        fed = self._ahead.popleft()
        return (SimpleNamespace(as_tensor=lambda: fed),)

    def reset(self) -> None:
        self._has_ended = False


class Graph:
    def read(self, store: Any, indices: np.ndarray) -> list[memoryview]:
        return []

    def feed(self, records: list[memoryview], rows: np.ndarray) -> np.ndarray:
        return rows["index"].reshape(-1, 1, 1).copy()

    def pipeline(self, source: Callable[[], Any], batch_size: int) -> Pipeline:
        return Pipeline(source)


class Store(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.labels)


def loaders(count: int, batch_size: int, world_size: int, drop_last: bool, seed: int) -> list[Loader]:
    store: Any = Store(
        labels=np.arange(count) % 3, sizes=np.ones((count, 2), np.int32), max_pixels=1, identity="0", path="s.lmdb"
    )
    settings = Settings(
        store=store,
        statistics=IMAGENET,
        batch_size=batch_size,
        seed=seed,
        order=order_named("shuffle"),
        drop_last=drop_last,
        cuda=None,
        threads=1,
        rank=0,
        world_size=world_size,
        dtype="float32",
        channels_last=False,
        pin_memory=False,
        on_error="raise",
        max_bad_share=0,
    )
    planner: Any = Planner()
    graph: Any = Graph()
    return [
        Loader(Batches(settings=replace(settings, rank=rank), shapes={"image": (1, 1)}), planner=planner, graph=graph)
        for rank in range(world_size)
    ]


def served(ranks: list[Loader], batches: int | None = None) -> list[tuple[int, int]]:
    """(position, index) of the next batches of all ranks, sorted; every rank makes as many batches."""
    taken = [list(islice(iter(loader), batches)) for loader in ranks]
    assert len({len(own) for own in taken}) == 1
    rows = [row for own in taken for batch in own for row in batch["plan"]]
    images = [int(image) for own in taken for batch in own for image in batch["image"].reshape(-1)]
    assert images == [int(row["index"]) for row in rows]
    return sorted((int(row["position"]), int(row["index"])) for row in rows)


SIZES = st.tuples(st.integers(1, 6), st.integers(1, 4))  # batch size, ranks


@given(st.integers(1, 60), SIZES, st.booleans(), st.integers(0, 2**32))
def test_ranks_share_out_every_epoch(count: int, sizes: tuple[int, int], drop_last: bool, seed: int) -> None:
    """Each position once over all ranks, up to the last full step or the end; the order is that of one rank alone."""
    batch_size, world_size = sizes
    step = batch_size * world_size
    assume(not drop_last or count >= step)
    ranks, (alone,) = loaders(count, batch_size, world_size, drop_last, seed), loaders(count, 1, 1, False, seed)
    length = count // step * step if drop_last else count
    for _ in range(2):
        got = served(ranks)
        assert [position for position, _ in got] == list(range(length))
        assert got == served([alone])[:length]


@given(st.integers(2, 60), SIZES, SIZES, st.booleans(), st.integers(0, 2**32), st.data())
def test_a_state_goes_on_at_its_position_on_any_ranks(
    count: int, before: tuple[int, int], after: tuple[int, int], drop_last: bool, seed: int, data: st.DataObject
) -> None:
    """What was served before the state and after it is the epoch, each position once; then comes the next epoch."""
    assume(not drop_last or count >= max(before[0] * before[1], after[0] * after[1]))
    first, then = (loaders(count, *sizes, drop_last, seed) for sizes in (before, after))
    batches = data.draw(st.integers(0, len(first[0])))
    got = served(first, batches)
    states = [json.loads(json.dumps(loader.state_dict())) for loader in first]
    assert all(state == states[0] for state in states)
    for loader in then:
        loader.load_state_dict(states[0])
    epoch, position, step = states[0]["epoch"], states[0]["position"], after[0] * after[1]
    assert (epoch, position) == ((0, len(got)) if batches < len(first[0]) else (1, 0))
    whole = served(loaders(count, 1, 1, False, seed))
    rest = served(then)
    if epoch == 0:
        left = count - position
        assert got + rest == whole[: position + (left // step * step if drop_last else left)]
    assert [loader.epoch for loader in then] == [epoch + 1] * after[1]

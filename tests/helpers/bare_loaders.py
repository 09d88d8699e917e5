"""Loaders over rows alone, without images or DALI: what they serve follows from positions, in microseconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np

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


def loaders(
    count: int,
    batch_size: int,
    world_size: int,
    drop_last: bool,
    seed: int,
    *,
    least: int | None = None,
    pad: bool = False,
) -> list[Loader]:
    """The loaders of all ranks; least: the fewest samples of a step, given in place of what drop_last says."""
    store: Any = Store(
        labels=np.arange(count) % 3, sizes=np.ones((count, 2), np.int32), max_pixels=1, identity="0", path="s.lmdb"
    )
    settings = Settings(
        store=store,
        statistics=IMAGENET,
        batch_size=batch_size,
        seed=seed,
        order=order_named("shuffle"),
        least=least or (batch_size * world_size if drop_last else 1),
        pad=pad,
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

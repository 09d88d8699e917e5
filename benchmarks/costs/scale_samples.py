"""What a number of samples costs before any pixel: opening, orders, planning, memory; and a store of many shards.

The store holds one-byte records, so its index is as large as a real one's; the heatmaps are 7 x 7, as a ResNet's at
224 px. Both are written in one process and used in another, so that what writing took is not counted.

Orders and plans look at nothing but the number of samples and their sizes, so an index whose samples are all alike
stands for one of a billion. Each number is tried in a process of its own, whose memory is its alone.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from ...cams.store.writer import HeatmapWriter
from ...pipelines.config import Augmentation
from ...pipelines.errors import InputError
from ...pipelines.plan.classification import TrainPlanner
from ...pipelines.plan.order import label_shuffle, shuffle
from ...pipelines.store.heatmaps import HeatmapStore
from ...pipelines.store.join import ShardedWriter
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET
from ...pipelines.store.writer import StoreWriter
from ..throughput.process_tree import peak_resident, reset_peak, resident

CLASSES = 365
_BATCH_SIZE, _BATCHES = 256, 200
_MAPS_A_PUT = 50_000
_SAMPLES_A_SHARD, _RECORD_BYTES = 40, 1000
_READ_SIZE, _READS = 64, 300

T = TypeVar("T")


def cost_of_samples(count: int, folder: Path) -> dict[str, Any]:
    """Write a store and heatmaps of `count` samples into the folder, use them, remove them.

    Returns {"samples", "open_seconds", "open_mb", "shuffle_seconds", "shuffle_mb", "label_shuffle_seconds",
    "label_shuffle_length", "label_shuffle_mb", "plan_rows_per_second", "growth_mb_over_epochs"}; *_mb is how far the
    step raised the resident memory at its peak, mapped pages of the store included.
    """
    try:
        with one_process() as process:
            process.submit(_write, count, folder).result()
        with one_process() as process:
            return process.submit(_use, folder).result()
    except BrokenProcessPool:
        raise InputError(f"the process for {count:,} samples was killed; free memory, or name fewer samples") from None
    finally:
        for file in _paths(folder):
            file.unlink(missing_ok=True)


def one_process() -> ProcessPoolExecutor:
    """A fresh process, so that what this one has done is not counted."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / "samples.lmdb", folder / "samples.cams.lmdb"


def _write(count: int, folder: Path) -> None:
    """Class k of the samples comes k + 1/2 times as often as class 0, so label_shuffle makes twice the list."""
    images, heatmaps = _paths(folder)
    rng = np.random.default_rng(0)
    labels = (CLASSES * np.sqrt(rng.random(count))).astype(np.int64).tolist()
    with StoreWriter(images, classes=[f"class {k}" for k in range(CLASSES)]) as writer:
        for index, label in enumerate(labels):
            writer.add(b"x", label=label, height=400, width=500, name=f"{label:03}/{index:09}.jpg")
    digest = ImageStore(images).digest
    with HeatmapWriter(heatmaps, count=count, images_digest=digest, method="random") as writer:
        for start in range(0, count, _MAPS_A_PUT):
            stop = min(start + _MAPS_A_PUT, count)
            writer.put(range(start, stop), rng.integers(0, 256, (stop - start, 7, 7), np.uint8))
        writer.finish()


def _use(folder: Path) -> dict[str, Any]:
    images, heatmaps = _paths(folder)

    def opened() -> tuple[ImageStore, HeatmapStore]:
        store, maps = ImageStore(images), HeatmapStore(heatmaps)
        maps.check(store)
        return store, maps

    shuffle(np.zeros(10), 0, 0)  # loads what is compiled
    (store, maps), open_seconds, open_mb = measured(opened)
    order, shuffle_seconds, shuffle_mb = measured(lambda: shuffle(store.labels, 0, 0))
    listed, list_seconds, list_mb = measured(lambda: label_shuffle(store.labels, 0, 0))
    length = len(listed)
    del listed
    planner = TrainPlanner(
        store=store, heatmaps=maps, augmentation=Augmentation(), statistics=IMAGENET, sizes=(224,), seed=0
    )
    rows_per_second = planning_rate(planner, order)
    del order
    shuffle(store.labels, 0, 1)
    before = resident()
    for epoch in range(2, 7):
        shuffle(store.labels, 0, epoch)
    return {
        "samples": len(store),
        "open_seconds": open_seconds,
        "open_mb": open_mb,
        "shuffle_seconds": shuffle_seconds,
        "shuffle_mb": shuffle_mb,
        "label_shuffle_seconds": list_seconds,
        "label_shuffle_length": length,
        "label_shuffle_mb": list_mb,
        "plan_rows_per_second": rows_per_second,
        "growth_mb_over_epochs": (resident() - before) / 1e6,
    }


def measured(step: Callable[[], T]) -> tuple[T, float, float]:
    """What the step returns, its seconds, and by how many MB it raised the resident memory at its peak."""
    reset_peak()
    before, begun = resident(), time.perf_counter()
    result = step()
    return result, time.perf_counter() - begun, (peak_resident() - before) / 1e6


def planning_rate(planner: TrainPlanner, order: np.ndarray) -> float:
    """Rows a second, over batches spread over the epoch; the first batch is warm-up."""
    size = min(_BATCH_SIZE, len(order))
    starts = np.linspace(0, len(order) - size, _BATCHES, dtype=np.int64).tolist()
    planner.rows(0, 0, order[:size])
    begun = time.perf_counter()
    for start in starts:
        planner.rows(0, start, order[start : start + size])
    return size * len(starts) / (time.perf_counter() - begun)


class Alike:
    """As much of a store as planning needs: any number of images of one size, in no memory."""

    def __init__(self, count: int) -> None:
        self.labels = np.broadcast_to(np.int64(0), count)
        self.sizes = np.broadcast_to(np.array([400, 500], np.int32), (count, 2))

    def __len__(self) -> int:
        return len(self.labels)


def cost_of_order(count: int) -> dict[str, Any]:
    """Order and plan of an epoch of plain windows, with nothing on disk.

    Returns {"samples", "shuffle_seconds", "shuffle_cpu_seconds", "shuffle_mb", "plan_rows_per_second"}.
    """
    try:
        with one_process() as process:
            return process.submit(_order, count).result()
    except BrokenProcessPool:
        raise InputError(f"the order of {count:,} samples was killed; free memory, or name fewer samples") from None


def _order(count: int) -> dict[str, Any]:
    shuffle(np.zeros(10), 0, 0)  # loads what is compiled
    store = cast(ImageStore, Alike(count))
    begun = time.process_time()
    order, seconds, megabytes = measured(lambda: shuffle(store.labels, 0, 0))
    used = time.process_time() - begun
    planner = TrainPlanner(
        store=store, heatmaps=None, augmentation=Augmentation(), statistics=IMAGENET, sizes=(224,), seed=0
    )
    rate = planning_rate(planner, order)
    return {
        "samples": count,
        "shuffle_seconds": seconds,
        "shuffle_cpu_seconds": used,
        "shuffle_mb": megabytes,
        "plan_rows_per_second": rate,
    }


def cost_of_shards(count: int, folder: Path) -> dict[str, Any]:
    """Write a store of `count` files of 40 records of 1,000 bytes into the folder, and read it in batches of 64.

    Returns {"shards", "open_seconds", "open_files", "cpu_us_per_record"}: open_files is how many descriptors it holds,
    cpu_us_per_record the time to find a record of a random batch and check its CRC32.
    """
    path = folder / f"shards-{count}"
    writer = ShardedWriter(path, classes=["one"], shard_bytes=_SAMPLES_A_SHARD * _RECORD_BYTES)
    try:
        for index in range(count * _SAMPLES_A_SHARD):
            writer.add(bytes(_RECORD_BYTES), label=0, height=400, width=500, name=f"{index:09}.jpg")
        writer.finish()
        writer.publish()
    finally:
        writer.discard()
    with one_process() as process:
        return process.submit(_read, path).result()


def _read(path: Path) -> dict[str, Any]:
    files, begun = _open_files(), time.perf_counter()
    store = ImageStore(path)
    seconds, files = time.perf_counter() - begun, _open_files() - files
    batches = np.random.default_rng(0).integers(0, len(store), (_READS, _READ_SIZE))
    store.read(batches[0])
    begun = time.process_time()
    for batch in batches:
        store.read(batch)
    return {
        "shards": len(store.header["shards"]),
        "open_seconds": seconds,
        "open_files": files,
        "cpu_us_per_record": (time.process_time() - begun) / batches.size * 1e6,
    }


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))

"""What scale costs without writing so many samples: the order and plan of any number, and a store of many shards.

Orders and plans look at nothing but the number of samples and their sizes, so an index whose samples are all alike
stands for one of a billion. Each number is tried in a process of its own, whose memory is its alone.
"""

from __future__ import annotations

import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, cast

import numpy as np

from ...pipelines.config import Augmentation
from ...pipelines.errors import InputError
from ...pipelines.plan.classification import TrainPlanner
from ...pipelines.plan.order import shuffle
from ...pipelines.store.join import ShardedWriter
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET
from .scale_samples import measured, one_process, planning_rate

_SAMPLES_A_SHARD, _RECORD_BYTES = 40, 1000
_BATCH_SIZE, _BATCHES = 64, 300


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
    begun = process_time()
    order, seconds, megabytes = measured(lambda: shuffle(store.labels, 0, 0))
    used = process_time() - begun
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
    files, begun = _open_files(), perf_counter()
    store = ImageStore(path)
    seconds, files = perf_counter() - begun, _open_files() - files
    batches = np.random.default_rng(0).integers(0, len(store), (_BATCHES, _BATCH_SIZE))
    store.read(batches[0])
    begun = process_time()
    for batch in batches:
        store.read(batch)
    return {
        "shards": len(store.header["shards"]),
        "open_seconds": seconds,
        "open_files": files,
        "cpu_us_per_record": (process_time() - begun) / batches.size * 1e6,
    }


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))

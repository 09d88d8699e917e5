"""`scripts/robustness faults long`: a loader that hands out very many batches, then one made again and again.

Memory is what the process holds itself (process_tree.memory); after a tenth of the run, its warm-up, it must grow by
no more than a limit a batch, and no file descriptor or thread may be left. Lag is CPU time, the last tenth of the
batches against the first after the warm-up: in each the tenth percentile, which other work on the machine moves least.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from sdali.benchmarks.throughput import process_tree
from sdali.benchmarks.throughput.workload import at_least_one
from sdali.pipelines import classification
from sdali.pipelines.io.progress import Track, silent
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

IMAGES, SIDE, BATCH_SIZE = 512, 32, 4
BATCHES_A_REOPENING = 2
BYTES_A_BATCH, BYTES_A_REOPENING = 50, 20_000  # what memory may grow by, and SPARE_BYTES once
SPARE_BYTES = 8 << 20
MOST_LAG = 1.5
_SAMPLES = 200


class Sample(NamedTuple):
    """What this process has used after `done` steps."""

    done: int
    memory: int
    descriptors: int
    threads: int
    cpu_seconds: float
    seconds: float


def long_run(batches: int, reopenings: int, *, progress: Track = silent) -> dict[str, Any]:
    """Take `batches` batches from one loader, then make and close another `reopenings` times.

    Returns {"batches", "reopenings", "failures"}; each of the first two is what `summary` says, failures are sentences.
    """
    at_least_one("batches", batches)
    at_least_one("reopenings", reopenings)
    with tempfile.TemporaryDirectory(prefix="sdali-faults-") as scratch:
        store = _small_images(Path(scratch, "s.lmdb"))
        taken = iter(chain.from_iterable(repeat(loader := _loader(store))))
        steady = _sampled(lambda: next(taken), batches, progress, "taking batches")
        loader.close()
        reopened = _sampled(lambda: _reopen(store), reopenings, progress, "reopening")
    record = {"batches": summary(steady), "reopenings": summary(reopened)}
    failures = [
        *failures_of(record["batches"], "batch", BYTES_A_BATCH),
        *failures_of(record["reopenings"], "reopening", BYTES_A_REOPENING),
    ]
    return {**record, "failures": failures}


def _small_images(path: Path) -> ImageStore:
    rng = np.random.default_rng(0)
    with StoreWriter(path, classes=["a", "b"]) as writer:
        for index in range(IMAGES):
            image = cv2.imencode(".jpg", rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8))[1].tobytes()
            writer.add(image, label=index % 2, height=SIDE, width=SIDE, name=f"{index}.jpg")
    return ImageStore(path)


def _loader(store: ImageStore) -> Loader:
    maps = np.random.default_rng(0).integers(0, 256, (len(store), 7, 7), np.uint8)
    return classification.train_loader(
        store, heatmaps=list(maps), batch_size=BATCH_SIZE, size=SIDE, device="cpu", threads=1
    )


def _reopen(store: ImageStore) -> None:
    loader = _loader(store)
    for _, batch in zip(range(BATCHES_A_REOPENING), loader, strict=False):
        assert len(batch["image"]) == BATCH_SIZE
    loader.close()


def _sampled(step: Callable[[], Any], count: int, progress: Track, what: str) -> list[Sample]:
    """Do `step` `count` times, with a sample before, after, and in between."""
    stops = sorted({round(stop) for stop in np.linspace(0, count, _SAMPLES + 1)[1:]})

    def steps() -> Iterator[Sample]:
        done = 0
        for stop in stops:
            while done < stop:
                step()
                done += 1
            yield _sample(done)

    return [_sample(0), *progress(steps(), len(stops), what)]


def _sample(done: int) -> Sample:
    return Sample(
        done,
        process_tree.memory(os.getpid()),
        len(os.listdir("/proc/self/fd")),
        len(os.listdir("/proc/self/task")),
        time.process_time(),
        time.perf_counter(),
    )


def summary(samples: list[Sample]) -> dict[str, Any]:
    """What a run has come to: count; bytes of memory after the warm-up, at the end, and the slope a step (least
    squares); descriptors and threads, each [after the warm-up, at the end]; milliseconds a step, of time and of CPU,
    each [first tenth after the warm-up, last tenth], as the tenth percentile of what lies between two samples.
    """
    values = np.array(samples, np.float64)
    warm = values[len(values) // 10 :]
    tenth = max(1, (len(warm) - 1) // 9)
    per_step = np.diff(warm[:, 4:], axis=0) / np.diff(warm[:, 0])[:, None] * 1e3
    cpu, wall = (np.quantile([column[:tenth], column[-tenth:]], 0.1, axis=1).round(4).tolist() for column in per_step.T)
    first, last = samples[-len(warm)], samples[-1]
    return {
        "count": last.done,
        "memory": [first.memory, last.memory],
        "bytes_a_step": round(float(np.polyfit(warm[:, 0], warm[:, 1], 1)[0]), 1),
        "descriptors": [first.descriptors, last.descriptors],
        "threads": [first.threads, last.threads],
        "cpu_ms": cpu,
        "ms": wall,
    }


def failures_of(found: dict[str, Any], what: str, limit: int) -> list[str]:
    """A sentence for all that has grown; limit: bytes a step."""
    failures, (first, last) = [], found["cpu_ms"]
    if found["bytes_a_step"] * found["count"] > limit * found["count"] + SPARE_BYTES:
        failures.append(f"memory grows by {found['bytes_a_step']:,} bytes a {what}")
    for name in ("descriptors", "threads"):
        before, after = found[name]
        if after > before:
            failures.append(f"{name} grow from {before} to {after} in {found['count']:,} times a {what}")
    if last > MOST_LAG * first + 0.2:
        failures.append(f"a {what} takes {first} ms of CPU at first and {last} at last")
    return failures

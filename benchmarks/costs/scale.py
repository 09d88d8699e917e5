"""`sdali bench scale`: how cost grows with the number of samples, with threads, batch size and image size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.bounds import MOST
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.terminal import print_records
from ..hardware import machine
from ..throughput.harness import measure_in_turn
from ..throughput.measure import open_peer
from ..throughput.workload import Workload, at_least_one, described, workload
from .scale_samples import cost_of_order, cost_of_samples, cost_of_shards

SAMPLES = (10_000, 1_000_000, 10_000_000)
SHARDS = (1, 100, 1_000)
THREADS, BATCH_SIZES, SIDES = (1, 2), (16, 64, 256), (224, 256, 384, 512, 1000, 2000)
_PHOTOGRAPHS_A_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """Measure how cost grows with samples, shards, threads, batch size and image size."""

    images: Path | None = None
    """Folder of images, for measurements over threads, batch sizes and image sizes. None: leave these out."""

    samples: tuple[int, ...] = SAMPLES
    """Numbers of samples in a store; 10 million need 3 GB of temporary space and some minutes."""

    orders: tuple[int, ...] = ()
    """Numbers of samples of which only an epoch's order and plan are made. Nothing is written and a sample takes 8
    bytes of memory, so that a billion can be tried."""

    shards: tuple[int, ...] = SHARDS
    """Numbers of files of a sharded store."""

    rounds: int = 3
    """Measured rounds on images, after one for warm-up."""

    images_a_round: int = 1024
    """Images that each setting serves in a round, at least."""


def scale(config: ScaleConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Measure on stores with each number of samples and of shards, and, given a folder of images, on its photographs.

    Returns {"machine", "samples", "orders", "shards", "photographs"}. samples: see scale_samples.cost_of_samples; 10
    million need 3 GB of temporary space and some minutes. orders: see scale_samples.cost_of_order, 8 bytes of memory a
    sample. shards: see scale_samples.cost_of_shards. photographs: a result of the harness for each setting ("threads
    1", "batch size 256", "shorter side 1000"), for the loader and, as "... decode_only", for decoding alone. Raises
    InputError for counts below 1 and for a folder that cannot be built into a store.
    """
    samples, orders, shards = config.samples, config.orders, config.shards
    for name, values, most in (
        ("samples", samples, 1 << 31),
        ("orders", orders, 1 << 36),
        ("shards", shards, 100_000),
        ("rounds", [config.rounds], MOST),
        ("images_a_round", [config.images_a_round], MOST),
    ):
        for value in values:
            at_least_one(name, value, most)
    photographs = [] if config.images is None else list(_on_photographs(config.images, config, progress))
    with tempfile.TemporaryDirectory(prefix="sdali-bench-") as scratch:
        counted = progress(samples, len(samples), "making and using stores")
        costs = [cost_of_samples(count, Path(scratch)) for count in counted]
        opened = [cost_of_shards(count, Path(scratch)) for count in progress(shards, len(shards), "opening shards")]
    ordered = [cost_of_order(count) for count in progress(orders, len(orders), "ordering")]
    return {"machine": machine(), "samples": costs, "orders": ordered, "shards": opened, "photographs": photographs}


def _on_photographs(images: Path, config: ScaleConfig, progress: Track) -> Iterator[dict[str, Any]]:
    with ExitStack() as folders, workload(images, batch_size=64) as base:
        settings: dict[str, Workload] = {}
        for threads in THREADS:
            settings[f"threads {threads}"] = replace(base, threads=threads)
        for batch_size in BATCH_SIZES:
            settings[f"batch size {batch_size}"] = replace(base, batch_size=min(batch_size, len(base.files)))
        for side in SIDES:
            resized = Path(folders.enter_context(tempfile.TemporaryDirectory(prefix="sdali-bench-")))
            _resize(base.files[:_PHOTOGRAPHS_A_SIDE], side, resized)
            settings[f"shorter side {side}"] = folders.enter_context(workload(resized, batch_size=64))
        peers = [
            (f"{name}{suffix}", partial(open_peer, peer, work))
            for name, work in settings.items()
            for peer, suffix in (("sdali", ""), ("decode_only", " decode_only"))
        ]
        measured = measure_in_turn(peers, rounds=config.rounds, images=config.images_a_round, progress=progress)
        for one, work in zip(measured, (work for work in settings.values() for _ in range(2)), strict=True):
            yield {**one.result(), "workload": described(work)}


def _resize(files: Sequence[Path], side: int, folder: Path) -> None:
    """JPEGs of quality 90 with that shorter side; enlarging makes them smooth, so their bytes a pixel fall."""
    for index, file in enumerate(files):
        image = np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR))
        ratio = side / min(image.shape[:2])
        kernel = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC
        size = (round(image.shape[1] * ratio), round(image.shape[0] * ratio))
        resized, target = cv2.resize(image, size, interpolation=kernel), folder / f"{index:04}.jpg"
        if not cv2.imwrite(str(target), resized, [cv2.IMWRITE_JPEG_QUALITY, 90]):
            raise InputError(f"cannot write into {folder}; free some space")


def print_scale(record: dict[str, Any]) -> None:
    """The record of `scale` as tables on stderr."""
    title = (
        "seconds to open, for an epoch's order (shuffle) and for a label_shuffle list of twice the length; rows\n"
        "planned a second; MB that order and list took at their peak, MB left behind by five epochs"
    )
    columns = {
        "samples": "{samples:,}",
        "open": "{open_seconds:.3f}",
        "order": "{shuffle_seconds:.2f}",
        "list": "{label_shuffle_seconds:.2f}",
        "rows/s": "{plan_rows_per_second:,.0f}",
        "order MB": "{shuffle_mb:.0f}",
        "list MB": "{label_shuffle_mb:.0f}",
        "left": "{growth_mb_over_epochs:.1f}",
    }
    print_records(title, columns, record["samples"])
    columns = {
        "samples": "{samples:,}",
        "order s": "{shuffle_seconds:.2f}",
        "CPU s": "{shuffle_cpu_seconds:.2f}",
        "order MB": "{shuffle_mb:,.0f}",
        "rows/s": "{plan_rows_per_second:,.0f}",
    }
    print_records("an epoch's order and its plan alone", columns, record["orders"])
    columns = {
        "files": "{shards:,}",
        "open s": "{open_seconds:.3f}",
        "descriptors": "{open_files:,}",
        "CPU us/record": "{cpu_us_per_record:.2f}",
    }
    print_records("stores of several files", columns, record["shards"])
    columns = {
        "setting": "{peer}",
        "CPU ms/image": "{cpu_ms_per_image:.2f}",
        "images/s": "{images_per_second:,.0f}",
        "peak MB": "{peak_memory_mb:,}",
    }
    print_records("images", columns, [result for result in record["photographs"] if "failure" not in result])

"""`sdali bench build`: building a store against reading the same files and writing them into one big file."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...pipelines.build.build import build
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.terminal import print_records
from ...pipelines.sources.folder import folder
from ..hardware import machine
from ..throughput.workload import at_least_one


def build_speed(images: Path, *, rounds: int = 5, progress: Track = silent) -> dict[str, Any]:
    """Build and copy the images below a folder in turn, `rounds` times after one for warm-up.

    Returns {"machine", "images", "megabytes", "build_mb_per_second", "copy_mb_per_second", "ratio"}: medians, and the
    median of the rounds' own ratios of build to copy. Both end with their file on disk (fsync); the build lists the
    folder, checks headers and end markers, takes CRC32s, and writes columns beside. Raises InputError as `build` does.
    """
    at_least_one("rounds", rounds)
    files = [Path(images, item.name) for item in folder(images).items]
    size = sum(file.stat().st_size for file in files) / 1e6
    with tempfile.TemporaryDirectory(prefix="sdali-bench-") as scratch:
        target = Path(scratch, "file")
        builds, copies = [], []
        for _ in progress(range(rounds + 1), rounds + 1, "building and copying"):
            copies.append(size / _seconds(lambda: _copy(files, target), target))
            builds.append(size / _seconds(lambda: _build(images, target), target))
    builds, copies = builds[1:], copies[1:]
    return {
        "machine": machine(),
        "images": len(files),
        "megabytes": round(size, 1),
        "build_mb_per_second": statistics.median(builds),
        "copy_mb_per_second": statistics.median(copies),
        "ratio": statistics.median(mine / theirs for mine, theirs in zip(builds, copies, strict=True)),
    }


def _seconds(step: Callable[[], None], target: Path) -> float:
    """What the step takes; the file it makes is removed."""
    begun = time.perf_counter()
    step()
    seconds = time.perf_counter() - begun
    target.unlink()
    return seconds


def _build(images: Path, target: Path) -> None:
    build(folder(images), target, progress=silent)


def _copy(files: Sequence[Path], target: Path) -> None:
    with target.open("wb") as out:
        for file in files:
            out.write(file.read_bytes())
        out.flush()
        os.fsync(out.fileno())


def print_build_speed(record: dict[str, Any], *, rounds: int) -> None:
    """The record of `build_speed` as a table on stderr."""
    columns = {
        "build MB/s": "{build_mb_per_second:,.0f}",
        "copy MB/s": "{copy_mb_per_second:,.0f}",
        "ratio": "{ratio:.2f}",
    }
    title = f"{record['images']:,} images, {record['megabytes']:,} MB, median of {rounds} rounds"
    print_records(title, columns, [record])

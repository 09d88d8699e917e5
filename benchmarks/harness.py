"""Measuring peers in turn: CPU time of the process tree, medians over rounds, warm-up excluded, the machine noted.

CPU milliseconds per image (user + system, worker processes included) say what a pipeline costs; images per second say
what this machine, shared or not, made of it. Peers take turns within a round, so drift hits all of them alike.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Stream = Callable[[], Iterator[int]]
"""Starts one pass over the images and yields how many each batch held."""

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "numba", "lmdb", "opencv-python-headless")
_DALI = ("nvidia-dali-cuda130", "nvidia-dali-cuda120")


@dataclass
class Timing:
    """What the rounds of one peer gave: seconds and CPU seconds per image, one entry a round."""

    peer: str
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def result(self) -> dict[str, Any]:
        """Medians and ranges, JSON-able."""
        milliseconds, rates = [1e3 * c for c in self.cpu], [1 / w for w in self.wall]
        return {
            "peer": self.peer,
            "images_per_second": statistics.median(rates),
            "images_per_second_range": [min(rates), max(rates)],
            "cpu_ms_per_image": statistics.median(milliseconds),
            "cpu_ms_per_image_range": [min(milliseconds), max(milliseconds)],
            "rounds": len(self.wall),
        }


def measure_in_turn(streams: Sequence[tuple[str, Stream]], *, rounds: int, images: int) -> list[Timing]:
    """Run each stream once for warm-up, then `rounds` times in turn, at least `images` images a time.

    A pipeline may go on working ahead after its last image; that work is waited for and charged to it, not to the next.
    """
    timings = [Timing(name) for name, _ in streams]
    for _, stream in streams:
        _consume(stream, images)
        _settle()
    for number in range(rounds):
        for timing, (_, stream) in _rotated(list(zip(timings, streams, strict=True)), number):
            wall, cpu = time.perf_counter(), cpu_seconds()
            count = _consume(stream, images)
            timing.wall.append((time.perf_counter() - wall) / count)
            timing.cpu.append((_settle() - cpu) / count)
    return timings


def _settle() -> float:
    """Wait, 10 s at most, until this process tree is idle; returns its CPU seconds so far."""
    used = cpu_seconds()
    for _ in range(100):
        time.sleep(0.1)
        before, used = used, cpu_seconds()
        if used - before < 0.005:
            break
    return used


def _rotated(items: list[Any], by: int) -> list[Any]:
    """Another peer begins each round, so that none always follows the same neighbour."""
    by %= len(items)
    return items[by:] + items[:by]


def _consume(stream: Stream, images: int) -> int:
    """Whole passes until `images` have been seen."""
    count = 0
    while count < images:
        before = count
        for batch in stream():
            count += batch
        if count == before:
            raise RuntimeError("a peer delivered no images")
    return count


def cpu_seconds() -> float:
    """User + system time of this process, its finished children and its living descendants."""
    total = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return total + sum(_process_seconds(pid) for pid in _descendants(os.getpid()))


def _descendants(pid: int) -> Iterator[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:  # it ended, or there is no /proc
        return
    for child in children:
        yield child
        yield from _descendants(child)


def _process_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine() -> dict[str, Any]:
    """Processor, cores, memory, GPU, operating system and versions: what a figure depends on."""
    import torch

    versions = {}
    for package in (*_PACKAGES, *_DALI):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

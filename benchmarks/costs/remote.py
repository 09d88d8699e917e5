"""What batches from Ray workers cost beside a local loader's: `python -m sdali.benchmarks.costs.remote --images DIR`.

The same uint8 batches, made locally and by a loader's own actors (a pool's are the same): one source after the other,
each in a process and with a cluster of its own, all of whose processes count. What a batch costs besides its images
shows where it is small: `--size 24 --batch-size 1`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from ...pipelines import classification
from ...pipelines.config import MOST_THREADS
from ...pipelines.io.terminal import print_result, run_command
from ...pipelines.loader.loader import Loader
from ...pipelines.remote.cluster import require_ray
from ...pipelines.remote.loader import RemoteLoader
from ..hardware import machine
from ..throughput.harness import measure_in_turn
from ..throughput.peer_process import Peer
from ..throughput.workload import Workload, at_least_one, described, workload

SOURCES = ("local", "ray")
_LEAD = 16  # batches a worker, before the clocks of each round start


def remote_cost(
    images: Path,
    *,
    workers: tuple[int, ...] = (1, 2),
    rounds: int = 5,
    images_a_round: int = 2048,
    batch_size: int = 32,
    size: int = 224,
) -> dict[str, Any]:
    """Measure every source on the images below a folder, with each number of workers: threads locally, else actors.

    Returns {"machine", "workload", "results"}. Each result: source, workers, what harness.Measured.result says, and for
    remote ones cpu_ms_more_per_batch and wall_ms_more_per_batch than the local loader's of as many workers, between the
    medians; or peer and failure. Raises InputError without Ray, and as `workload` does.
    """
    require_ray()
    for name, value in (("rounds", rounds), ("images_a_round", images_a_round)):
        at_least_one(name, value)
    for count in workers:
        at_least_one("workers", count, MOST_THREADS)
    with workload(images, batch_size=batch_size, size=size, threads=1) as work:
        results = []
        for count in workers:
            local: dict[str, Any] = {}
            for source in SOURCES:
                peer = f"{source} {count}", partial(_opened, work, source, count)
                (measured,) = measure_in_turn([peer], rounds=rounds, images=images_a_round)
                found = measured.result()
                local = local or found
                results.append({"source": source, "workers": count, **found, **_more(found, local, work.batch_size)})
        return {"machine": machine(), "workload": described(work), "results": results}


def _opened(work: Workload, source: str, workers: int) -> Peer:
    """The source, in its own process."""
    threads = workers if source == "local" else 1
    options: dict[str, Any] = {"batch_size": work.batch_size, "size": work.size, "threads": threads}
    loader: Loader = classification.train_loader(work.store, device="cpu", colour_on="device", **options)
    if source != "local":
        require_ray().init("local", num_cpus=workers, include_dashboard=False, log_to_driver=False)
        loader = RemoteLoader(loader, actors=workers)
    batches = _batches(loader)
    return Peer(lambda: batches, "", lead=_LEAD * workers)


def _batches(loader: Loader) -> Iterator[int]:
    while True:
        for batch in loader:
            yield len(batch["image"])


def _more(one: dict[str, Any], local: dict[str, Any], batch_size: int) -> dict[str, float]:
    """Milliseconds a batch beyond the local loader's."""
    if one is local or "failure" in one or "failure" in local:
        return {}
    cpu = one["cpu_ms_per_image"] - local["cpu_ms_per_image"]
    wall = 1e3 / one["images_per_second"] - 1e3 / local["images_per_second"]
    return {"cpu_ms_more_per_batch": batch_size * cpu, "wall_ms_more_per_batch": batch_size * wall}


def main() -> int:
    """The module as a command: exit status 0, or 2 with one sentence."""
    print_result(tyro.cli(remote_cost))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))

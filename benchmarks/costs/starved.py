"""A training script that waits for its data, before and after: `python -m sdali.benchmarks.costs.starved --images DIR`.

One script, one small network, one thread for torch. Before: a DataLoader with torchvision's transforms v2 in worker
processes. After: our loader with as many threads. They take turns in one process, both open all the while; after its
pass neither has anything left to do, so each is charged its own CPU time.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import tyro
from torch.utils.data import DataLoader, RandomSampler

from ...pipelines import classification
from ...pipelines.io.terminal import print_result, run_command
from ...trainers.models.classification.classifiers import create_classifier
from ..hardware import machine
from ..throughput import process_tree
from ..throughput.peers.torchvision import load, recipe
from ..throughput.torch_data import Files
from ..throughput.workload import Workload, at_least_one, described, workload

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


class Epoch(NamedTuple):
    """What one pass over the images took, in seconds; `waited`: for next(batches)."""

    images: int
    wall: float
    waited: float
    cpu: float


def starved(
    images: Path,
    *,
    rounds: int = 7,
    images_a_round: int = 2048,
    batch_size: int = 64,
    size: int = 64,
    workers: int = 1,
    model: str = "convnet4",
) -> dict[str, Any]:
    """Train `model` on the images below a folder from each source in turn, `rounds` times after a warm-up.

    images_a_round: of a pass, in which images come again as often as it takes: a pass begins with an empty pipeline,
    and where it is of a few batches, filling that is what is measured. workers: processes of the DataLoader, and
    threads of our loader. Returns {"machine", "workload", "model", "rounds", "images_a_round", "before", "after"}; the
    last two with medians and ranges of images_per_second, waited_share and cpu_ms_per_image, the script whole, and
    `after` with `speedup`, the median of the rounds' own ratios. Raises InputError as `workload` does.
    """
    at_least_one("rounds", rounds)
    at_least_one("images_a_round", images_a_round)
    torch.set_num_threads(1)
    network = create_classifier(model, 2).train()
    with workload(images, batch_size=batch_size, size=size, threads=workers) as work:
        with closing(ours := classification.train_loader(work.store, epoch_length=images_a_round, **_options(work))):
            sources: dict[str, Batches] = {
                "before": _data_loader(work, images_a_round),
                "after": ours.map(lambda batch: (batch["image"], batch["label"].clamp(min=0))),
            }
            passes: dict[str, list[Epoch]] = {name: [] for name in sources}
            for number in range(rounds + 1):
                for name in sorted(sources, reverse=number % 2 == 0):
                    passes[name].append(trained(sources[name], network))
        results = {name: _result(found[1:]) for name, found in passes.items()}
        pairs = zip(passes["before"][1:], passes["after"][1:], strict=True)
        results["after"]["speedup"] = statistics.median((b.wall / b.images) / (a.wall / a.images) for b, a in pairs)
        return {
            "machine": machine(),
            "workload": described(work),
            "model": model,
            "rounds": rounds,
            "images_a_round": images_a_round,
            **results,
        }


def trained(batches: Batches, network: torch.nn.Module) -> Epoch:
    """One epoch of the script, and what it took."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    count, waited, cpu, begun = 0, [0.0], process_tree.cpu_seconds(), time.perf_counter()
    for images, labels in _timed(batches, waited):
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        count += len(images)
    return Epoch(count, time.perf_counter() - begun, waited[0], process_tree.cpu_seconds() - cpu)


def _timed(batches: Batches, waited: list[float]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    begun = time.perf_counter()
    for batch in batches:
        waited[0] += time.perf_counter() - begun
        yield batch
        begun = time.perf_counter()


def _data_loader(work: Workload, images: int) -> Batches:
    files = Files(work.files, partial(load, recipe(work.size)))
    order = RandomSampler(files, num_samples=images)
    return DataLoader(
        files, work.batch_size, sampler=order, drop_last=True, num_workers=work.threads, persistent_workers=True
    )


def _options(work: Workload) -> dict[str, Any]:
    return {"batch_size": work.batch_size, "size": work.size, "threads": work.threads, "device": "cpu"}


def _result(passes: list[Epoch]) -> dict[str, Any]:
    """Medians and ranges."""
    figures: dict[str, Callable[[Epoch], float]] = {
        "images_per_second": lambda one: one.images / one.wall,
        "waited_share": lambda one: one.waited / one.wall,
        "cpu_ms_per_image": lambda one: 1e3 * one.cpu / one.images,
    }
    found: dict[str, Any] = {}
    for name, figure in figures.items():
        values = [figure(one) for one in passes]
        found[name], found[f"{name}_range"] = statistics.median(values), [min(values), max(values)]
    return found


def main() -> int:
    """The module as a command: exit status 0, or 2 with one sentence."""
    print_result(tyro.cli(starved))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))

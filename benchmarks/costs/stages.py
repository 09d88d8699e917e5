"""`sdali bench stages`: where the time of one image goes, and how long a trainer waits for its data.

Each stage is measured alone, as a peer of the harness. Stages that need windows get those of real plan rows, decoded
beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ...pipelines import classification
from ...pipelines.errors import InputError
from ...pipelines.graph.kernels.window import transform_planes, window_to_planes
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.terminal import print_records
from ...pipelines.plan.order import shuffle
from ...pipelines.store.reader import ImageStore
from ...trainers.core.loop import timed
from ...trainers.core.progress import RunProgress
from ...trainers.models.classification.classifiers import create_classifier
from ..hardware import machine
from ..throughput.harness import measure_in_turn
from ..throughput.measure import title_of
from ..throughput.peer_process import Peer
from ..throughput.peers import decode_only, sdali
from ..throughput.workload import Workload, at_least_one, described, workload

_WARM_UP_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class StagesConfig:
    """Measure the stages of the CPU pipeline, each alone, and a training run."""

    images: Path
    """Folder of images; use full-size photographs, as small images hide the cost of decoding."""

    rounds: int = 5
    """Measured rounds, after one for warm-up; the stages take turns in each."""

    images_a_round: int = 2048
    """Images that each stage handles in a round, at least."""

    batch_size: int = 64
    """Images in a batch."""

    size: int = 224
    """Side of the output, pixels."""

    threads: int = 2
    """CPU threads of the pipeline."""

    model: str = "resnet18"
    """Network that is trained, on the CPU, to see how long a trainer waits for data."""

    steps: int = 10
    """Measured training steps, after three for warm-up."""


def stages(config: StagesConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Measure the stages of the CPU pipeline on the images below a folder, and a training run.

    Returns {"machine", "workload", "cpu_ms_per_image", "training"}. Stages: read (with CRC32), plan (with heatmaps),
    decode, resize (with flip), colour; whole: the loader; hand_over: what of it the stages do not explain, which is
    feeding DALI, its executor and the hand-over of tensors, and the noise of all the others. training: model,
    images_per_second and data_wait_share, on the CPU. Raises InputError as `throughput` does.
    """
    for name in ("rounds", "images_a_round", "steps"):
        at_least_one(name, getattr(config, name))
    create_classifier(config.model, 2)  # a wrong name is refused before anything is measured
    with workload(config.images, batch_size=config.batch_size, size=config.size, threads=config.threads) as work:
        parts = [(name, partial(part, work)) for name, part in PARTS.items()]
        measured = measure_in_turn(parts, rounds=config.rounds, images=config.images_a_round, progress=progress)
        results = {one.peer: one.result() for one in measured}
        failed = [f"{name}: {result['failure']}" for name, result in results.items() if "failure" in result]
        if failed:
            raise InputError("; ".join(failed))
        costs = {name: result["cpu_ms_per_image"] for name, result in results.items()}
        return {
            "machine": machine(),
            "workload": described(work),
            "cpu_ms_per_image": _attributed(costs),
            "training": training(work, config.model, config.steps),
        }


def _attributed(costs: dict[str, float]) -> dict[str, float]:
    """Stage -> CPU ms an image; they sum to `whole`."""
    named = {
        "read": costs["read"],
        "plan": costs["plan"],
        "decode": costs["decode"],
        "resize": costs["kernel"] - costs["colour"],
        "colour": costs["colour"],
    }
    return {**named, "hand_over": costs["whole"] - sum(named.values()), "whole": costs["whole"]}


def training(work: Workload, model: str, steps: int) -> dict[str, Any]:
    """Train `model` on the CPU for some steps: images a second, and the share of the time it waited for data."""
    store = ImageStore(work.store)
    loader = classification.train_loader(
        store, batch_size=work.batch_size, size=work.size, threads=work.threads, device="cpu"
    )
    network = create_classifier(model, max(len(store.classes), 2)).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    at, begun, waited = RunProgress(), 0.0, 0.0
    batches = chain.from_iterable(timed(loader, at) for _ in count())
    for step, batch in enumerate(islice(batches, _WARM_UP_STEPS + steps)):
        if step == _WARM_UP_STEPS:
            begun, waited = time.perf_counter(), at.wait_seconds
        loss = F.cross_entropy(network(batch["image"]), batch["label"].clamp(min=0))  # unlabelled: any class will do
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.perf_counter() - begun
    return {
        "model": model,
        "steps": steps,
        "images_per_second": steps * work.batch_size / seconds,
        "data_wait_share": (at.wait_seconds - waited) / seconds,
    }


def read(work: Workload) -> Peer:
    """Records from the store, CRC32 checked."""
    store = ImageStore(work.store)

    def one_pass() -> Iterator[int]:
        for indices in _batches(store, work):
            yield len(store.read(indices))

    return Peer(one_pass, "")


def plan(work: Workload) -> Peer:
    """Plan rows, windows guided by heatmaps in memory."""
    store = ImageStore(work.store)
    planner = sdali.planner(store, work)

    def one_pass() -> Iterator[int]:
        for number, indices in enumerate(_batches(store, work)):
            yield len(planner.rows(0, number * work.batch_size, indices))

    return Peer(one_pass, "")


def decode(work: Workload) -> Peer:
    """DALI decoding the windows, records read without CRC32."""
    return Peer(decode_only.stream(work), "")


def kernel(work: Workload) -> Peer:
    """Resampling, flip, clamping and colour, on an epoch's decoded windows (512 at most)."""
    store = ImageStore(work.store)
    rows = sdali.planner(store, work).rows(0, 0, shuffle(store.labels, 0, 0)[:512])
    windows = [_window(data, row["window"]) for data, row in zip(store.read(rows["index"]), rows, strict=True)]
    planes = np.empty((work.batch_size, 3, work.size, work.size), np.float32)
    forward = np.arange(work.size, dtype=np.int32)
    columns = {False: forward, True: np.ascontiguousarray(forward[::-1])}

    def one_pass() -> Iterator[int]:
        for index, (row, window) in enumerate(zip(rows, windows, strict=True)):
            out = planes[index % len(planes)]
            window_to_planes(out, columns[bool(row["flip"])], window, row["colour"], row["interpolation"])
        yield len(rows)

    return Peer(one_pass, "")


def colour(work: Workload) -> Peer:
    """The kernel's last step: the 3 x 5 matrix over the planes."""
    planes = np.random.default_rng(0).random((work.batch_size, 3, work.size, work.size), np.float32)
    matrix = np.eye(3, 5, dtype=np.float32)

    def one_pass() -> Iterator[int]:
        for one in planes:
            transform_planes(one, matrix, np.float32(0.5))
        yield len(planes)

    return Peer(one_pass, "")


def whole(work: Workload) -> Peer:
    """The loader, as a trainer sees it."""
    return Peer(sdali.stream(work), "")


PARTS: dict[str, Callable[[Workload], Peer]] = {
    "read": read,
    "plan": plan,
    "decode": decode,
    "kernel": kernel,
    "colour": colour,
    "whole": whole,
}


def _batches(store: ImageStore, work: Workload) -> Iterator[np.ndarray]:
    """int64 [batch_size] each: an epoch's shuffled indices, without the last incomplete batch."""
    order = shuffle(store.labels, 0, 0)
    yield from order[: len(order) // work.batch_size * work.batch_size].reshape(-1, work.batch_size)


def _window(data: memoryview, window: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] RGB."""
    y, x, height, width = window.tolist()
    image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def print_stages(record: dict[str, Any], *, rounds: int) -> None:
    """The record of `stages` as tables on stderr."""
    costs = record["cpu_ms_per_image"]
    rows = [{"name": name, "cost": cost, "share": cost / costs["whole"]} for name, cost in costs.items()]
    columns = {"stage": "{name}", "CPU ms/image": "{cost:.3f}", "share": "{share:.1%}"}
    print_records(title_of(record, rounds), columns, rows)
    columns = {
        "model": "{model}",
        "images/s": "{images_per_second:.1f}",
        "waiting for data": "{data_wait_share:.1%}",
    }
    print_records("training on the CPU", columns, [record["training"]])

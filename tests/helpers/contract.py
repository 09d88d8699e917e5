"""The loaders that one contract holds for, their batches by position, and a process that goes on from states.

python contract.py < jobs.json      jobs: a list of Job's fields; prints a list of {"epoch position": digest}
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from detection_stores import make_detection_store
from loading import SIZE, Blobs
from parsing_stores import make_parsing_store
from pictures import make_store

from sdali.pipelines import DetectionAugmentation, ImageStore, IouCrop, classification, detection, parsing
from sdali.pipelines.loader.loader import Loader

COUNT = 50
STORES: dict[str, Callable[[Path], ImageStore]] = {
    "classification": lambda path: make_store(path, COUNT),
    "parsing": lambda path: make_parsing_store(path, COUNT),
    "parsing of one size": lambda path: make_parsing_store(path, COUNT, (40, 50)),
    "detection": lambda path: make_detection_store(path, COUNT),
}


@dataclass(frozen=True)
class Case:
    """A loader, but for its layout: batch size, rank, ranks, threads, device."""

    store: str
    make: Callable[..., Loader]
    options: dict[str, Any]
    train: bool = True
    one_by_one: bool = False
    """Batches are of one image."""
    drawn_a_step: bool = False
    """Something is drawn for each step of all ranks, so that steps must stay as they are."""
    length: int = COUNT
    """Positions an epoch."""


_NARROW = {"shorter_side": (20, 33, 40), "longer_side": 60, "augmentation": DetectionAugmentation(crop=IouCrop())}
CASES = {
    "classification train": Case(
        "classification",
        classification.train_loader,
        {"size": SIZE, "seed": 5, "heatmaps": Blobs(COUNT), "order": "label_shuffle"},
        length=51,  # three times the largest class
    ),
    "classification train, sizes a step": Case(
        "classification",
        classification.train_loader,
        {"size": SIZE, "sizes": (16, 24, 32), "seed": 5, "epoch_length": 64, "plain_from": 1},
        drawn_a_step=True,
        length=64,
    ),
    "classification train, coloured later": Case(
        "classification", classification.train_loader, {"size": SIZE, "seed": 5, "colour_on": "device"}
    ),
    "classification test": Case("classification", classification.test_loader, {"size": SIZE}, train=False),
    "classification test, ten crops": Case(
        "classification", classification.test_loader, {"size": SIZE, "crops": 10}, train=False
    ),
    "classification test, random views": Case(
        "classification", classification.test_loader, {"size": SIZE, "crops": 3}, train=False
    ),
    "parsing train": Case("parsing", parsing.train_loader, {"size": (30, 44), "seed": 5, "heatmaps": Blobs(COUNT)}),
    "parsing test": Case("parsing", parsing.test_loader, {"scale": 0.7}, train=False, one_by_one=True),
    "parsing test, one size": Case("parsing of one size", parsing.test_loader, {}, train=False),
    "detection train": Case("detection", detection.train_loader, {"seed": 5, "side_per": "sample", **_NARROW}),
    "detection train, sides a step": Case(
        "detection", detection.train_loader, {"seed": 5, **_NARROW}, drawn_a_step=True
    ),
    "detection test": Case(
        "detection", detection.test_loader, {"shorter_side": 33, "longer_side": 60, "flip": True}, train=False
    ),
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a job is split; `world_size` ranks of `batch_size`."""

    batch_size: int
    world_size: int
    threads: int


@dataclass(frozen=True, kw_only=True)
class Job:
    """Go on from `state` to the end of the epoch, with every rank of a layout, and for as many epochs more."""

    case: str
    store: str
    state: dict[str, Any]
    layout: Layout
    device: str
    more: int = 1


def opened(case: str, store: str | Path, layout: Layout, device: str, rank: int = 0) -> Loader:
    """The loader of one rank."""
    chosen = CASES[case]
    return chosen.make(store, **chosen.options, **asdict(layout), rank=rank, device=device)


def by_position(epoch: int, batches: Iterable[dict[str, Any]]) -> dict[str, str]:
    """ "epoch position" -> SHA-256 of all that a batch says of that sample; of its pixels those within its `size`."""
    found = {}
    for batch in batches:
        for place, row in enumerate(batch["plan"]):
            state = hashlib.sha256(row.tobytes())
            for name in sorted(batch):
                value = batch[name][place]
                if name == "image" and "size" in batch:
                    height, width = batch["size"][place].tolist()
                    value = value[:, :height, :width]
                state.update(name.encode())
                state.update(value.tobytes() if name == "plan" else value.cpu().contiguous().numpy().tobytes())
            found[f"{epoch} {np.ravel(row['position'])[0]}"] = state.hexdigest()
    return found


def gone_on(job: Job) -> dict[str, str]:
    """What all ranks together hand out from the state on."""
    found = {}
    for rank in range(job.layout.world_size):
        loader = opened(job.case, job.store, job.layout, job.device, rank)
        loader.load_state_dict(job.state)
        for _ in range(1 + job.more):
            found |= by_position(loader.epoch, loader)
        loader.close()
    return found


def main() -> None:
    jobs = [Job(**{**fields, "layout": Layout(**fields["layout"])}) for fields in json.load(sys.stdin)]
    json.dump([gone_on(job) for job in jobs], sys.stdout)


if __name__ == "__main__":
    main()

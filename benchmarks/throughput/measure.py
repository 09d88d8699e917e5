"""`sdali bench throughput`: this pipeline and its peers on the same files, in one run."""

from __future__ import annotations

import importlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from ...pipelines.errors import InputError
from ...pipelines.io.device import cuda_ordinal
from ...pipelines.io.outputs import RECORD
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.small_files import write_output
from ..hardware import machine
from .harness import Measured, measure_in_turn
from .peer_process import Peer
from .workload import Workload, at_least_one, described, workload

PEERS = (
    "sdali",
    "sdali_plain",
    "decode_only",
    "dali_stock",
    "ffcv",
    "ffcv_raw",
    "spdl",
    "torchvision",
    "torchvision_pil",
    "timm",
    "albumentations",
    "webdataset",
)


def throughput(
    images: Path,
    *,
    peers: tuple[str, ...] = PEERS,
    rounds: int = 5,
    images_a_round: int = 1024,
    batch_size: int = 64,
    size: int = 224,
    threads: int = 2,
    device: str = "cpu",
    progress: Track = silent,
) -> dict[str, Any]:
    """Measure `peers` on the images below a folder; returns {"machine", "workload", "results"}.

    Each result: peer, images_per_second and cpu_ms_per_image (medians over rounds, with ranges), cpu_ratio (to
    cpu_ratio_to, the first that could be measured: the median of the rounds' own ratios), peak_memory_mb, rounds and
    lacks; or peer and failure, for one that is not installed or does not run here. Raises InputError for an unknown
    peer or device, a folder without a usable image, or where no peer runs.
    """
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown or not peers:
        raise InputError(f"no peer is called {', '.join(unknown) or '(none given)'}; there are {', '.join(PEERS)}")
    if len(set(peers)) < len(peers):
        raise InputError(f"peers are to be named once each, got {', '.join(peers)}")
    cuda_ordinal(device)
    at_least_one("rounds", rounds)
    at_least_one("images a round", images_a_round)
    with workload(images, batch_size=batch_size, size=size, threads=threads, device=device) as work:
        opened = [(peer, partial(open_peer, peer, work)) for peer in peers]
        measured = measure_in_turn(opened, rounds=rounds, images=images_a_round, progress=progress)
        about = described(work)
    first = next((one for one in measured if not one.failure), None)
    if first is None:
        raise InputError("; ".join(f"{one.peer}: {one.failure}" for one in measured))
    results = [one.result() | _ratio(one, first) for one in measured]
    return {"machine": machine(), "workload": about, "results": results}


def _ratio(one: Measured, first: Measured) -> dict[str, Any]:
    return {} if one.failure else {"cpu_ratio": one.ratio(first), "cpu_ratio_to": first.peer}


def open_peer(name: str, work: Workload) -> Peer:
    """The peer of that name, ready to serve; runs in the peer's own process."""
    module = importlib.import_module(f".peers.{name}", __package__)
    return Peer(module.stream(work), module.LACKS)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The record as an indented JSON file."""
    write_output(path, (json.dumps(document, indent=2) + "\n").encode(), RECORD)

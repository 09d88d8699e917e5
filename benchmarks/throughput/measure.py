"""`sdali bench throughput`: this pipeline and its peers on the same files, in one run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...pipelines.errors import InputError
from ...pipelines.io.device import cuda_ordinal
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.terminal import print_records
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


@dataclass(frozen=True, kw_only=True)
class ThroughputConfig:
    """Measure pipelines on the same images, in turn."""

    images: Path
    """Folder of images; use full-size photographs, as small images hide the cost of decoding."""

    peers: str = ",".join(PEERS)
    """Names of the pipelines to measure, separated by commas."""

    rounds: int = 5
    """Measured rounds, after one for warm-up; the pipelines take turns in each."""

    images_a_round: int = 1024
    """Images that each pipeline serves in a round, at least."""

    batch_size: int = 64
    """Images in a batch."""

    size: int = 224
    """Side of the output, pixels."""

    threads: int = 2
    """CPU threads of each pipeline."""

    device: str = "cpu"
    """cpu, or cuda:0 for pipelines on the GPU."""


def throughput(config: ThroughputConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Measure the peers on the images below a folder; returns {"machine", "workload", "results"}.

    Each result: peer, images_per_second and cpu_ms_per_image (medians over rounds, with ranges), cpu_ratio (to
    cpu_ratio_to, the first that could be measured: the median of the rounds' own ratios), peak_memory_mb, rounds and
    lacks; or peer and failure, for one that is not installed or does not run here. Raises InputError for an unknown
    peer or device, a folder without a usable image, or where no peer runs.
    """
    peers = [name.strip() for name in config.peers.split(",") if name.strip()]
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown or not peers:
        raise InputError(f"no peer is called {', '.join(unknown) or '(none given)'}; there are {', '.join(PEERS)}")
    if len(set(peers)) < len(peers):
        raise InputError(f"peers are to be named once each, got {', '.join(peers)}")
    cuda_ordinal(config.device)
    at_least_one("rounds", config.rounds)
    at_least_one("images_a_round", config.images_a_round)
    sizes = {"batch_size": config.batch_size, "size": config.size}
    with workload(config.images, **sizes, threads=config.threads, device=config.device) as work:
        opened = [(peer, partial(open_peer, peer, work)) for peer in peers]
        measured = measure_in_turn(opened, rounds=config.rounds, images=config.images_a_round, progress=progress)
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


def print_throughput(record: dict[str, Any], *, rounds: int) -> None:
    """The record of `throughput` as tables on stderr."""
    measured = [result for result in record["results"] if "failure" not in result]
    columns = {
        "peer": "{peer}",
        "CPU ms/image": "{cpu_ms_per_image:.2f}",
        "range": "{cpu_ms_per_image_range[0]:.2f} - {cpu_ms_per_image_range[1]:.2f}",
        f"of {measured[0]['peer']}": "{cpu_ratio:.2f}",
        "images/s": "{images_per_second:,.0f}",
        "peak MB": "{peak_memory_mb:,}",
    }
    print_records(title_of(record, rounds), columns, measured)
    for title, key in (("what they lack of the recipe", "lacks"), ("not measured", "failure")):
        some = [result for result in record["results"] if result.get(key)]
        print_records(title, {"peer": "{peer}", key: f"{{{key}}}"}, some)


def title_of(record: dict[str, Any], rounds: int) -> str:
    """The machine, threads and rounds of a record, as the title of its table."""
    return f"{record['machine']['processor']}, {record['workload']['threads']} threads, median of {rounds} rounds"

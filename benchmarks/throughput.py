"""`sdali bench throughput`: this pipeline and its peers on the same files, in one run."""

from __future__ import annotations

import importlib
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from ..pipelines.build import build
from ..pipelines.errors import InputError
from ..pipelines.progress import Track, silent
from ..pipelines.sources_folder import folder
from .hardware import machine
from .harness import measure_in_turn
from .peer_process import Peer
from .workload import Workload

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

    Each result: peer, images_per_second and cpu_ms_per_image (medians over rounds, with ranges), peak_memory_mb,
    rounds, lacks; or peer and failure, for one that is not installed or does not run here. Raises InputError for an unknown
    peer, a folder that cannot be built into a store, or where no peer runs.
    """
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown or not peers:
        raise InputError(f"no peer is called {', '.join(unknown) or '(none given)'}; there are {', '.join(PEERS)}")
    if len(set(peers)) < len(peers):
        raise InputError(f"peers are to be named once each, got {', '.join(peers)}")
    for name, value in (("rounds", rounds), ("images a round", images_a_round), ("batch size", batch_size),
                        ("size", size), ("threads", threads)):  # fmt: skip
        if value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    with tempfile.TemporaryDirectory(prefix="sdali-bench-") as scratch:
        source, store = folder(images), Path(scratch, "images.lmdb")
        build(source, store, transcode=True, progress=silent)
        work = Workload(
            files=tuple(Path(images, item.name).absolute() for item in source.items),
            store=store,
            scratch=Path(scratch),
            batch_size=min(batch_size, len(source.items)),
            size=size,
            threads=threads,
            device=device,
        )
        opened = [(peer, partial(open_peer, peer, work)) for peer in peers]
        measured = measure_in_turn(opened, rounds=rounds, images=images_a_round, progress=progress)
    if all(one.failure for one in measured):
        raise InputError("; ".join(f"{one.peer}: {one.failure}" for one in measured))
    return {"machine": machine(), "workload": _described(work), "results": [one.result() for one in measured]}


def open_peer(name: str, work: Workload) -> Peer:
    """The peer of that name, ready to serve; runs in the peer's own process."""
    module = importlib.import_module(f".peers.{name}", __package__)
    return Peer(module.stream(work), module.LACKS)


def _described(work: Workload) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in work.files)
    return {
        "images": len(work.files),
        "mean_kilobytes": round(size / len(work.files) / 1e3, 1),
        "batch_size": work.batch_size,
        "size": work.size,
        "threads": work.threads,
        "device": work.device,
    }


def write_json(path: Path, document: dict[str, Any]) -> None:
    """The record as an indented JSON file."""
    try:
        path.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; name a file in a folder that exists") from None

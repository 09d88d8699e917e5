"""`sdali bench throughput`: this pipeline and its peers on the same files, in one run."""

from __future__ import annotations

import importlib
import json
import tempfile
from pathlib import Path
from typing import Any

from ..pipelines.build import build
from ..pipelines.errors import InputError
from ..pipelines.progress import silent
from ..pipelines.sources_folder import folder
from .harness import Stream, Timing, machine, measure_in_turn
from .workload import Workload

PEERS = ("sdali", "sdali_plain", "dali_stock")


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
) -> dict[str, Any]:
    """Measure `peers` on the images below a folder; returns {"machine", "workload", "results"}.

    Each result: peer, images_per_second and cpu_ms_per_image (medians over rounds, with ranges), rounds, lacks.
    Raises InputError for an unknown peer or a folder that cannot be built into a store.
    """
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown or not peers:
        raise InputError(f"no peer is called {', '.join(unknown) or '(none given)'}; there are {', '.join(PEERS)}")
    if rounds < 1 or images_a_round < 1:
        raise InputError(f"rounds and images a round must be at least 1, got {rounds} and {images_a_round}")
    with tempfile.TemporaryDirectory() as temporary:
        source, store = folder(images), Path(temporary, "images.lmdb")
        build(source, store, transcode=True, progress=silent)
        work = Workload(
            files=tuple(Path(images, item.name) for item in source.items),
            store=store,
            batch_size=min(batch_size, len(source.items)),
            size=size,
            threads=threads,
            device=device,
        )
        streams = [(peer, _stream(peer, work)) for peer in peers]
        timings = measure_in_turn(streams, rounds=rounds, images=images_a_round)
    return {"machine": machine(), "workload": _described(work), "results": [_result(timing) for timing in timings]}


def _stream(peer: str, work: Workload) -> Stream:
    return importlib.import_module(f".peers.{peer}", __package__).stream(work)


def _result(timing: Timing) -> dict[str, Any]:
    lacks = importlib.import_module(f".peers.{timing.peer}", __package__).LACKS
    return {**timing.result(), "lacks": lacks}


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

"""`scripts/robustness faults kills`: `sdali` commands killed at random moments, then given again.

    build   after a kill there is no store, or the whole one; the next build makes it and leaves nothing else behind
    cams    as build; besides, no map that was kept is ever lost or made again
    train   killed and resumed until it ends, a run has the weights, averages and momenta of one that was not disturbed

A command runs in a process forked from one that has imported everything, so that kills fall into its work.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from sdali.benchmarks.throughput.workload import at_least_one
from sdali.cams.store.partial import shard_path
from sdali.pipelines.io.progress import Track, silent
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.heatmaps import MAPS, HeatmapStore
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

TRAIN_FLAGS = (
    *("--model", "test_resnet", "--size", "32", "--batch-size", "8", "--epochs", "2", "--warmup-epochs", "0"),
    *("--ema", "0.9", "--device", "cpu", "--threads", "1", "--precision", "float32"),
    *("--deterministic", "--resume", "--save-minutes", "0.0001"),
)
SECONDS_A_COMMAND = 600.0
_PRELOADED = [
    __name__,
    *("sdali.cli.store", "sdali.cli.heatmaps", "sdali.cli.train"),
    *("sdali.pipelines.build.build", "sdali.cams.heatmaps", "sdali.trainers.classification"),
    "sdali.pipelines.graph.classification",
]

Failures = list[str]


def kills(what: str, count: int, *, seed: int = 0, progress: Track = silent) -> dict[str, Any]:
    """Kill the command `what` (build, cams or train) `count` times.

    Returns {"what", "kills", "seed", "undisturbed_seconds", "failures"}, with a sentence for each thing that must not
    be. A kill that comes after the end counts for nothing; what is killed last is still brought to its end.
    """
    at_least_one("count", count)
    rng, failures, settled = np.random.default_rng(seed), [], False
    tries = {"build": _build, "cams": _cams, "train": _train}[what]
    with tempfile.TemporaryDirectory(prefix="sdali-faults-") as scratch:
        seconds, attempts = tries(Path(scratch), rng)
        for _ in progress(range(count), count, f"killing {what}"):
            was_killed = False
            while not was_killed:
                was_killed, settled, message = next(attempts)
                failures += message
        while not settled:
            _, settled, message = next(attempts)
            failures += message
    figures = {"kills": count, "seed": seed, "undisturbed_seconds": round(seconds, 2)}
    return {"what": what, **figures, "failures": failures}


Attempts = Iterator[tuple[bool, bool, Failures]]  # was it killed, is nothing left to go on with, what must not be


def _build(folder: Path, rng: np.random.Generator) -> tuple[float, Attempts]:
    _photographs(folder / "photos", 200)
    seconds = _undisturbed(["build", str(folder / "photos"), str(folder / "whole.lmdb")])
    whole, store = _image_records(folder / "whole.lmdb"), folder / "killed" / "s.lmdb"
    store.parent.mkdir()
    command = ["build", str(folder / "photos"), str(store)]

    def attempts() -> Attempts:
        while True:
            ended, failures = _run(command, rng.uniform(0, 1.1 * seconds)), []
            if store.exists():
                failures += [] if _image_records(store) == whole else ["a store was published that is not right"]
            else:
                _undisturbed(command)
                failures += [] if _image_records(store) == whole else ["the next build is not right"]
                failures += _left(store.parent, {"s.lmdb"})
            _empty(store.parent)
            yield ended is None, True, failures

    return seconds, attempts()


def _cams(folder: Path, rng: np.random.Generator) -> tuple[float, Attempts]:
    images, folder = folder / "images.lmdb", folder / "killed"
    _masked_store(images, 2000)
    seconds = _undisturbed(["cams", str(images), str(images.with_name("whole.lmdb")), "--from", "masks"])
    whole, cams = _maps(images.with_name("whole.lmdb")), folder / "c.lmdb"
    folder.mkdir()
    command = ["cams", str(images), str(cams), "--from", "masks"]

    def attempts() -> Attempts:
        kept = 0
        while True:
            ended, failures = _run(command, rng.uniform(0, 0.7 * seconds)), []
            if is_there := cams.exists():
                failures += [] if _maps(cams) == whole else ["a heatmap store was published that is not right"]
                if ended is not None:
                    failures += _left(folder, {"c.lmdb"})
                    made = json.loads(ended[1])["made"]
                    failures += [] if made == len(whole) - kept else [f"{kept} maps were kept and {made} made"]
                _empty(folder)
                kept = 0
            else:
                before, kept = kept, _kept(shard_path(cams, 0, 1))
                failures += [] if kept >= before else [f"of {before} maps that were kept {before - kept} are lost"]
            yield ended is None, is_there, failures

    return seconds, attempts()


def _train(folder: Path, rng: np.random.Generator) -> tuple[float, Attempts]:
    store, val_store = folder / "train.lmdb", folder / "val.lmdb"
    _masked_store(store, 96)
    _masked_store(val_store, 16)
    common = ["train", "classification", "--store", str(store), "--val-store", str(val_store), *TRAIN_FLAGS, "--out"]
    seconds = _undisturbed([*common, str(folder / "whole")])
    whole, out = _state(folder / "whole"), folder / "killed"
    names = {path.name for path in (folder / "whole").iterdir()}

    def attempts() -> Attempts:
        while True:
            ended, failures = _run([*common, str(out)], rng.uniform(0, seconds)), []
            if ended is not None:
                failures += [] if _state(out) == whole else ["a resumed run has not the undisturbed one's weights"]
                failures += _left(out, names)
                _empty(out)
            yield ended is None, ended is not None, failures

    return seconds, attempts()


def _run(arguments: Sequence[str], limit: float = SECONDS_A_COMMAND) -> tuple[float, str] | None:
    """Seconds that `sdali ARGUMENTS` took and what it printed; None where it took `limit` and was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_command, args=(list(arguments), sender))
    process.start()
    sender.close()
    with receiver:
        assert receiver.poll(SECONDS_A_COMMAND) and receiver.recv() == "begun", "the command did not begin"
        begun = time.monotonic()
        process.join(limit)
        process.kill()  # nothing, where it has just ended
        process.join()
        if process.exitcode == -signal.SIGKILL:
            return None
        status, message, complaints = receiver.recv()
    assert status == 0, f"sdali {' '.join(arguments)} ended with {status}: {complaints}"
    return time.monotonic() - begun, message


def _undisturbed(arguments: Sequence[str]) -> float:
    """Seconds of a run that is not killed."""
    ended = _run(arguments)
    assert ended is not None, "the command did not end"
    return ended[0]


def _command(arguments: list[str], sender: Any) -> None:
    from sdali.cli.main import main

    sender.send("begun")
    message, complaints = io.StringIO(), io.StringIO()
    with redirect_stdout(message), redirect_stderr(complaints):
        status = main(arguments)
    sender.send((status, message.getvalue(), complaints.getvalue()[-2000:]))


def _photographs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for index in range(count):
        path = folder / f"class {index % 3}" / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (12, 16, 3), np.uint8).repeat(20, 0).repeat(20, 1)
        path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())


def _masked_store(path: Path, count: int) -> None:
    """Small pictures of two classes, each with a mask."""
    rng = np.random.default_rng(count)
    with StoreWriter(path, classes=["dark", "bright"], has_masks=True) as writer:
        for index in range(count):
            image = rng.integers(0, 128, (40, 40, 3), np.uint8) + np.uint8(127 * (index % 2))
            mask = encode_mask((rng.random((40, 40)) < 0.5).astype(np.uint8))
            data = cv2.imencode(".jpg", image)[1].tobytes()
            writer.add(data, label=index % 2, height=40, width=40, name=f"{index}.jpg", mask=mask)


def _image_records(path: Path) -> Any:
    """All that identifies a store, its records read and checked."""
    store = ImageStore(path)
    return store.digest, [bytes(view) for view in store.read(range(len(store)))]


def _maps(path: Path) -> list[bytes]:
    return [heatmap.tobytes() for heatmap in HeatmapStore(path)]


def _kept(path: Path) -> int:
    """Maps that a partial file holds."""
    try:
        with lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=2) as environment:
            maps = environment.open_db(MAPS, create=False)
            with environment.begin() as transaction:
                return transaction.stat(maps)["entries"]
    except lmdb.Error:  # it has not come as far
        return 0


def _state(out: Path) -> list[str]:
    """What training has come to, bit for bit: each value of the checkpoint with its place."""
    from sdali.trainers.core import checkpoint

    saved = checkpoint.load(out / "last.pt")
    return list(_values({name: saved[name] for name in ("state_dict", "ema", "optimizer", "loader")}, ""))


def _values(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _values(item, f"{where}/{place}")
    else:
        yield f"{where} {value.numpy().tobytes().hex() if hasattr(value, 'numpy') else repr(value)}"


def _left(folder: Path, expected: set[str]) -> Failures:
    return [f"{name} was left behind" for name in sorted({path.name for path in folder.iterdir()} - expected)]


def _empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()

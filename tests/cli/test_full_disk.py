"""A disk that fills up under a command: one sentence, status 2, nothing half published; with room, it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from parsing_stores import make_parsing_store
from pictures import jpeg, photo
from training import learnable_store

from sdali.cli.main import main

pytest.importorskip("nvidia.dali")
TRAIN = (
    *("--model", "test_resnet", "--size", "24", "--batch-size", "6", "--epochs", "1", "--warmup-epochs", "0"),
    *("--device", "cpu", "--threads", "1"),
)


@pytest.fixture(scope="module")
def unshare() -> list[str]:
    """How to begin a process with mounts of its own; skips where that is not allowed."""
    for words in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        tried = [*words, "mount", "-t", "tmpfs", "none", "/mnt"]
        try:
            if subprocess.run(tried, capture_output=True, timeout=20, check=False).returncode == 0:
                return words
        except FileNotFoundError:
            break
    pytest.skip("a full disk needs a mount of its own, which is not allowed here (unshare --mount)")


def outcomes(unshare: list[str], disk: Path, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    disk.mkdir()
    words = [*unshare, sys.executable, str(Path(__file__).parents[1] / "helpers" / "full_disk.py"), str(disk)]
    done = subprocess.run(words, input=json.dumps(jobs), capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, f"status {done.returncode}: {done.stderr[-3000:]}"
    return json.loads(done.stdout)


@pytest.mark.slow
def test_each_command_says_so_and_recovers(unshare: list[str], tmp_path: Path) -> None:
    """build, stats, cams, train and predictions: what stays of a full disk is whole, or work that the next run takes
    up; with room it leaves the files of a first run.
    """
    disk, store, run = tmp_path / "disk", tmp_path / "s.lmdb", tmp_path / "run"
    photos = tmp_path / "photos" / "a"
    photos.mkdir(parents=True)
    for index in range(12):
        (photos / f"{index}.jpg").write_bytes(jpeg(photo(index, 200, 200), 95))
    learnable_store(store, 30)
    cams = ["cams", str(make_parsing_store(tmp_path / "masks.lmdb", 400).path)]
    train = ["train", "classification", "--store", str(store), "--val-store", str(store), *TRAIN]
    assert main([*train, "--out", str(run)]) == 0
    evaluate = ["evaluate", "classification", "--checkpoint", str(run / "last.pt"), "--store", str(store), "--crops"]
    of_run = {f"run/{path.name}" for path in run.iterdir()}
    cases: list[tuple[list[Path], list[str], set[str], set[str]]] = [  # there before, command, may stay, are made
        ([], ["build", str(photos.parent), str(disk / "b.lmdb")], set(), {"b.lmdb"}),
        ([store], ["stats", str(disk / "s.lmdb")], {"s.lmdb"}, {"s.lmdb", "s.lmdb.stats.json"}),
        ([], [*cams, str(disk / "c.lmdb"), "--from", "rare-classes"], {"c.lmdb.0-of-1.partial"}, {"c.lmdb"}),
        ([], [*train, "--resume", "--out", str(disk / "run")], {n for n in of_run if not n.endswith(".pt")}, of_run),
        ([], [*evaluate, "10", "--device", "cpu", "--predictions", str(disk / "p.h5")], set(), {"p.h5"}),
    ]
    jobs = [
        {"before": [str(file) for file in before], "room": 0 if before else 64 << 10, "words": words}
        for before, words, _, _ in cases
    ]
    for (_, words, may_stay, made), found in zip(cases, outcomes(unshare, disk, jobs), strict=True):
        status, said, files = found["full"]
        assert status == 2 and "Traceback" not in said, (words, said)
        assert said.splitlines()[-1].startswith(f"sdali: cannot write {disk}") and "the disk is full" in said
        assert set(files) <= may_stay, words
        status, said, files = found["free"]
        assert (status, set(files)) == (0, made), (words, said)

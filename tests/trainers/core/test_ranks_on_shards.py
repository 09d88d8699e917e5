"""torchrun with two ranks on stores of several files: training and heatmaps are those of one file and one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from torchrun import torchrun
from training import learnable_store

from sdali.pipelines import ImageStore
from sdali.pipelines.store.heatmaps import MAPS, HeatmapStore
from sdali.pipelines.store.join import join
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers.classification.activation_maps import activation_maps
from sdali.trainers.core import checkpoint

COUNT, BATCH = 50, 5

TRAIN = """
import sys
from pathlib import Path
from sdali.trainers.classification import TrainConfig, train

folder = Path(sys.argv[1])
for form in ("one", "several"):
    train(TrainConfig(
        store=folder / f"train.{form}", val_store=folder / "val.lmdb", out=folder / form, model="convnet4", epochs=2,
        batch_size=8, size=32, precision="float32", device="cpu", threads=1, deterministic=True,
    ))
"""

KILLED = """
import os, signal, sys
from pathlib import Path
from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines import ImageStore
from sdali.trainers.classification.activation_maps import activation_maps

put, puts = HeatmapWriter.put, []
def dying(self, indices, maps):
    put(self, indices, maps)
    puts.append(len(indices))
    if self.rank == 1 and len(puts) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
HeatmapWriter.put = dying
folder = Path(sys.argv[1])
activation_maps(
    ImageStore(folder / "train.several"), folder / "cams.lmdb", checkpoint=folder / "one/last.pt", batch_size=5,
    device="cpu", threads=1,
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train.one`, the same images in three files as `train.several`, and a network trained on each."""
    folder = tmp_path_factory.mktemp("ranks")
    shards = [learnable_store(folder / f"{count}.lmdb", count).path for count in (20, 17, 13)]
    join(folder / "train.several", shards)
    join_as_file(ImageStore(folder / "train.several"), folder / "train.one")
    learnable_store(folder / "val.lmdb", 12)
    (folder / "train.py").write_text(TRAIN)
    (folder / "killed.py").write_text(KILLED)
    done = torchrun(folder / "train.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


def join_as_file(store: ImageStore, path: Path) -> None:
    """The same samples in one file, written one by one."""
    with StoreWriter(path, classes=store.classes) as writer:
        for index, ((height, width), name) in enumerate(zip(store.sizes.tolist(), store.names, strict=True)):
            data, label = bytes(store.read([index])[0]), int(store.labels[index])
            writer.add(data, label=label, height=height, width=width, name=name)


def committed(path: Path) -> int:
    """Maps in a partial file, as LMDB itself counts them."""
    with lmdb.open(str(path), subdir=False, lock=False, readonly=True, max_dbs=2) as file, file.begin() as reading:
        return reading.stat(file.open_db(MAPS, reading, create=False))["entries"]


@pytest.mark.slow
def test_two_ranks_train_alike_on_one_file_and_on_several(folder: Path) -> None:
    """Every weight and statistic is equal after two epochs, and so are store digests and results."""
    one, several = (checkpoint.load(folder / form / "last.pt") for form in ("one", "several"))
    assert one["state_dict"].keys() == several["state_dict"].keys()
    for name, weights in one["state_dict"].items():
        assert torch.equal(weights, several["state_dict"][name]), name
    logs = [
        [json.loads(line) for line in (folder / form / "log.jsonl").read_text().splitlines()]
        for form in ("one", "several")
    ]
    losses = [[(line["epoch"], line["loss"]) for line in log if "loss" in line] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) > 0


@pytest.mark.slow
def test_heatmaps_of_two_ranks_survive_a_kill(folder: Path) -> None:
    """A rank killed with two batches committed ends both; the command line makes the rest, and the maps are those of
    one process on one file.
    """
    killed = torchrun(folder / "killed.py", folder)
    assert killed.returncode != 0 and not (folder / "cams.lmdb").exists()
    kept = [committed(folder / f"cams.lmdb.{rank}-of-2.partial") for rank in range(2)]
    assert kept[1] == 2 * BATCH
    words: list[Any] = [
        "--checkpoint",
        folder / "one/last.pt",
        "--batch-size",
        BATCH,
        "--device",
        "cpu",
        "--threads",
        1,
    ]
    done = torchrun("-m", "sdali.cli", "cams", folder / "train.several", folder / "cams.lmdb", *words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["images"] == COUNT and report["made"] == COUNT - sum(kept)
    one = ImageStore(folder / "train.one")
    activation_maps(
        one, folder / "alone.lmdb", checkpoint=folder / "one/last.pt", batch_size=BATCH, device="cpu", threads=1
    )
    ranks, alone = HeatmapStore(folder / "cams.lmdb"), HeatmapStore(folder / "alone.lmdb")
    ranks.check(one)
    for mine, other in zip(ranks, alone, strict=True):
        np.testing.assert_allclose(mine.astype(int), other.astype(int), atol=1)  # batches differ in their rounding
    assert not list(folder.glob("*.partial"))

"""Two processes under torchrun on the CPU, and what one process makes of devices and environments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchrun import found_by_ranks
from training import learnable_store

from sdali.pipelines.errors import InputError
from sdali.trainers.classification import EvaluateConfig, evaluate
from sdali.trainers.classification.predictions import Predictions
from sdali.trainers.core import checkpoint
from sdali.trainers.core.process import joined_process, resolve_device

SCRIPT = """
import json, os, signal, sys
from pathlib import Path
import torch.distributed
from sdali.trainers.core import loop
from sdali.trainers.classification import EvaluateConfig, TrainConfig, evaluate, train

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
options = dict(
    store=folder / "train.lmdb", val_store=folder / "val.lmdb", out=folder / "run", model="convnet4", epochs=2,
    batch_size=8, size=32, ema=0.9, precision="float32", device="cpu", resume=True,
)
original = loop.seed_step
def seed_step(seed, step, own_rank):
    original(seed, step, own_rank)
    if step == 2 and rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
loop.seed_step = seed_step
try:
    train(TrainConfig(**options))
    stopped = 0
except SystemExit as left:
    stopped = left.code
loop.seed_step = original
left_open = torch.distributed.is_initialized()
result = train(TrainConfig(**options))
evaluation = evaluate(EvaluateConfig(checkpoint=folder / "run/last.pt", store=folder / "val.lmdb", batch_size=8,
                                     precision="float32", device="cpu"))
views = evaluate(EvaluateConfig(checkpoint=folder / "run/last.pt", store=folder / "val.lmdb", batch_size=24, crops=3,
                                scales=(32, 40), flip=True, predictions=folder / "ranks.h5", precision="float32",
                                device="cpu"))
found = {"stopped": stopped, "left_open": left_open, "result": result, "evaluation": evaluation, "views": views}
(folder / f"{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two ranks train, are stopped by a signal to one of them, go on, and evaluate 29 images."""
    folder = tmp_path_factory.mktemp("ranks")
    learnable_store(folder / "train.lmdb", 100)
    learnable_store(folder / "val.lmdb", 29)
    return folder, found_by_ranks(SCRIPT, folder)


@pytest.mark.slow
def test_ranks_take_the_same_steps_to_the_end(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Both ranks finish, with one result: 100 images in steps of 2 x 8 are 6 steps an epoch."""
    first, second = (found["result"] for found in ranks[1])
    assert (first["epochs"], first["steps"], first["ranks"]) == (2, 12, 2)
    assert [first[name] for name in ("top1", "best_top1", "steps")] == [
        second[name] for name in ("top1", "best_top1", "steps")
    ]


def test_a_signal_to_one_rank_stops_all_after_one_step(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Both leave as for SIGTERM, none hangs, the group is gone; the log has the stop once, and the resumption."""
    folder, found = ranks
    assert [(one["stopped"], one["left_open"]) for one in found] == [(143, False)] * 2
    lines = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "stop"] == [3]
    assert [line["step"] for line in lines if line["event"] == "start"] == [0, 3]


def test_top1_is_counted_over_exactly_the_images(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Two ranks with short and empty batches count what one process counts, class by class."""
    folder, found = ranks
    whole = evaluate(
        EvaluateConfig(
            checkpoint=folder / "run" / "last.pt", store=folder / "val.lmdb", precision="float32", device="cpu"
        )
    )
    for one in found:
        evaluation = one["evaluation"]
        assert evaluation["images"] == whole["images"] == 29
        assert evaluation["per_class"] == whole["per_class"]
        assert evaluation["top1"] == whole["top1"] == one["result"]["top1"]
        assert evaluation["loss"] == pytest.approx(whole["loss"], rel=1e-5)


def test_predictions_of_all_ranks_lie_in_one_file(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Views, scales and figures are those of one process, whichever rank has seen an image."""
    folder, found = ranks
    whole = evaluate(
        EvaluateConfig(
            checkpoint=folder / "run" / "last.pt", store=folder / "val.lmdb", crops=3, scales=(32, 40), flip=True,
            predictions=folder / "whole.h5", precision="float32", device="cpu",
        )
    )  # fmt: skip
    for one in found:
        assert {name: one["views"][name] for name in ("top1", "per_class", "images")} == {
            name: whole[name] for name in ("top1", "per_class", "images")
        }
        assert one["views"]["ece"] == pytest.approx(whole["ece"], abs=1e-5)
    mine, theirs = (Predictions(folder / name) for name in ("ranks.h5", "whole.h5"))
    for scale in (32, 40):
        for view in range(6):
            np.testing.assert_allclose(
                mine.mean(scales=[scale], views=[view]), theirs.mean(scales=[scale], views=[view]), atol=1e-5
            )


def test_the_checkpoint_is_of_one_network(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """It is saved without DDP's wrapping, so one process can load it."""
    saved = checkpoint.load(ranks[0] / "run" / "last.pt")
    assert not any(name.startswith("module.") for name in [*saved["state_dict"], *saved["ema"]])


def test_one_process_needs_no_group() -> None:
    """Without torchrun sums are the values themselves, and nothing is wrapped."""
    with joined_process("cpu") as alone:
        assert not torch.distributed.is_initialized()
        assert (alone.is_first, alone.world_size, alone.total(2.5)) == (True, 1, 2.5)
        model = torch.nn.Linear(1, 1)
        assert alone.wrap(model) is model


def test_a_callers_own_group_is_used_and_left_alone(tmp_path: Path) -> None:
    """Who has initialised a group keeps it."""
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with joined_process("cpu") as ranks:
            assert ranks.total(1.5) == 1.5
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cuda:99"])
def test_devices_that_do_not_exist(device: str) -> None:
    """One sentence with the value."""
    with pytest.raises(InputError, match=device):
        resolve_device(device)


def test_one_gpu_for_all_ranks_is_refused() -> None:
    """Under torchrun each rank takes its own."""
    with pytest.raises(InputError, match="under torchrun give cuda"):
        resolve_device("cuda:0", local_rank=1, world_size=2)

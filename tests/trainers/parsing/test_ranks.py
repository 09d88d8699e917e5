"""Scene parsing on two processes under torchrun: the gradient, the figures and the predictions are those of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parsing_stores import CLASSES, IGNORE, make_parsing_store
from torchrun import found_by_ranks

from sdali.trainers.parsing import EvaluateConfig, evaluate

SCRIPT = """
import dataclasses, json, os, signal, sys
from pathlib import Path
import torch
from sdali.trainers.core import loop
from sdali.trainers.parsing.job import ParsingJob
from sdali.trainers.core.process import joined_process
from sdali.trainers.models.parsing.mixed_context import MixedContextConfig
from sdali.trainers.models.parsing.network import ParsingConfig
from sdali.trainers.parsing import EvaluateConfig, TrainConfig, evaluate, train

folder, rank = Path(sys.argv[1]), int(os.environ["RANK"])
network = ParsingConfig(backbone="resnet10t", mcn=MixedContextConfig(channels=8, width=4, dilations=(1,)))
config = TrainConfig(
    store=folder / "s.lmdb", val_store=folder / "s.lmdb", out=folder / "run", network=network, size=(32, 48),
    batch_size=2, epochs=2, precision="float32", device="cpu", threads=1, class_balance="median_frequency", resume=True,
)
gradients = {}
with joined_process("cpu", 1) as process:
    for balance in ("none", "median_frequency"):
        job = ParsingJob(dataclasses.replace(config, class_balance=balance), process)
        model = torch.nn.Conv2d(3, 5, 1)
        model.load_state_dict(torch.load(folder / "model.pt"))
        batch = {name: part[rank::2] for name, part in torch.load(folder / "batch.pt").items()}
        wrapped = process.wrap(model)
        job.loss(wrapped, batch).backward()
        gradients[balance] = model.weight.grad.flatten().tolist()
    weights = job.class_weights.tolist()
original = loop.seed_step
def seed_step(seed, step, own_rank):
    original(seed, step, own_rank)
    if step == 1 and rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
loop.seed_step = seed_step
try:
    train(config)
    stopped = 0
except SystemExit as left:
    stopped = left.code
loop.seed_step = original
result = train(config)
found = evaluate(EvaluateConfig(checkpoint=folder / "run/last.pt", store=folder / "s.lmdb", predictions=folder / "two",
                                precision="float32", device="cpu", threads=1))
(folder / f"{rank}.json").write_text(json.dumps(
    {"gradients": gradients, "weights": weights, "stopped": stopped, "result": result, "evaluation": found}
))
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two ranks take a gradient, train, are stopped by a signal to one of them, go on, and evaluate 9 images."""
    folder = tmp_path_factory.mktemp("ranks")
    make_parsing_store(folder / "s.lmdb", 9)
    generator = torch.Generator().manual_seed(0)
    masks = torch.randint(0, CLASSES, (4, 6, 7), generator=generator)
    masks[0, 1:] = masks[2, 1:] = IGNORE  # the first rank's: it has few labelled pixels
    torch.save({"image": torch.randn(4, 3, 6, 7, generator=generator), "mask": masks}, folder / "batch.pt")
    torch.save(torch.nn.Conv2d(3, CLASSES, 1).state_dict(), folder / "model.pt")
    return folder, found_by_ranks(SCRIPT, folder)


@pytest.mark.slow
@pytest.mark.parametrize("balance", ["none", "median_frequency"])
def test_the_gradient_is_that_of_one_batch(ranks: tuple[Path, list[dict[str, Any]]], balance: str) -> None:
    """A pixel counts alike on every rank, though one rank has a seventh of the other's labelled pixels."""
    folder, found = ranks
    model, batch = torch.nn.Conv2d(3, CLASSES, 1), torch.load(folder / "batch.pt")
    model.load_state_dict(torch.load(folder / "model.pt"))
    weights = torch.tensor(found[0]["weights"]) if balance == "median_frequency" else None
    F.cross_entropy(model(batch["image"]), batch["mask"], weights, ignore_index=IGNORE).backward()
    assert model.weight.grad is not None
    for one in found:
        np.testing.assert_allclose(one["gradients"][balance], model.weight.grad.flatten(), rtol=1e-4, atol=1e-7)


def test_ranks_stop_and_go_on_together(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """9 images in steps of 2 x 2 are 2 steps an epoch; both ranks leave as for SIGTERM, and have one score at last."""
    found = ranks[1]
    assert [(one["stopped"], one["result"]["steps"], one["result"]["ranks"]) for one in found] == [(143, 4, 2)] * 2
    assert found[0]["result"]["score"] == found[1]["result"]["score"] == found[0]["evaluation"]["score"]


def test_figures_and_predictions_are_those_of_one_process(ranks: tuple[Path, list[dict[str, Any]]]) -> None:
    """Each image is counted and written once, whichever rank has it; here one has 5 and the other 4."""
    folder, found = ranks
    whole = evaluate(
        EvaluateConfig(
            checkpoint=folder / "run" / "last.pt", store=folder / "s.lmdb", predictions=folder / "one",
            precision="float32", device="cpu", threads=1,
        )
    )  # fmt: skip
    assert whole["images"] == 9
    for one in found:
        for name in ("score", "mean_iou", "pixel_accuracy", "pixels", "per_class"):
            assert one["evaluation"][name] == whole[name]
    mine, theirs = ({path.name: path.read_bytes() for path in (folder / name).iterdir()} for name in ("one", "two"))
    assert len(mine) == 9 and mine == theirs

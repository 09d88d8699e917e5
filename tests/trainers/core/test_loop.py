"""The loop with a fake loader: what it counts, when it evaluates and saves, when it refuses to go on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdali.pipelines.errors import InputError
from sdali.trainers.core import checkpoint
from sdali.trainers.core.log import RunLog
from sdali.trainers.core.loop import Run, fit, seed_step, stoppable
from sdali.trainers.core.process import Process
from sdali.trainers.core.progress import RunProgress, Stopwatch
from sdali.trainers.core.signals import Stopped, StopSignals


class FakeLoader:
    """Four batches an epoch of one number each, some slow to come; its place is the next batch's."""

    batches = 4

    def __init__(self, delay: float = 0.0) -> None:
        self.epoch = self.place = 0
        self.delay, self.skipped = delay, []

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place in range(self.place, self.batches):
            time.sleep(self.delay)
            last = place == self.batches - 1
            self.epoch, self.place = (self.epoch + 1, 0) if last else (self.epoch, place + 1)
            yield {"x": torch.tensor(float(place)), "index": torch.arange(8)}

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "place": self.place}


class Weight(nn.Module):
    """One weight."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return (self.w - x) ** 2


def squared_error(module: nn.Module, batch: dict[str, Any]) -> Tensor:
    return module(batch["x"])


MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(tmp_path: Path) -> Iterator[MakeRun]:
    """Makes a run of 5 epochs whose evaluations give the numbers of `top1` in turn; its folder is tmp_path."""
    logs: list[RunLog] = []

    def make(top1: list[float], *, loss: Callable[..., Tensor] = squared_error, **options: Any) -> Run:
        model, progress, results = Weight(), RunProgress(), iter(top1)
        loader = options.pop("loader", FakeLoader())
        logs.append(RunLog(tmp_path, progress, epochs=5, steps_per_epoch=len(loader), describe=str, enabled=True))
        defaults: dict[str, Any] = {
            "model": model, "trained": model, "ema": None, "optimizer": torch.optim.SGD(model.parameters(), lr=1.0),
            "loader": loader, "test_loader": [], "progress": progress, "learning_rate": lambda step: 0.1 / (step + 1),
            "signals": StopSignals(), "log": logs[-1], "stopwatch": Stopwatch(),
        }  # fmt: skip
        config = {"epochs": 5, "evaluate_every": 1, "save_every": 1, "keep_every": 0, "save_minutes": 0}
        job = SimpleNamespace(
            config=SimpleNamespace(**{**config, **options}, seed=0, out=tmp_path),
            process=Process(device=torch.device("cpu")), score="top1", facts={"task": "fake"}, loss=loss,
            evaluate=lambda module, batches: {"top1": next(results), "loss": 0.0, "images": 1},
        )  # fmt: skip
        return Run(job=job, **defaults)  # type: ignore[arg-type]

    with torch.random.fork_rng():
        yield make
    for log in logs:
        log.__exit__(None, None, None)


def test_equals_the_same_steps_by_hand(make_run: MakeRun) -> None:
    """Twenty steps of gradient descent, each with its own learning rate."""
    run = make_run([0.0] * 5)
    fit(run)
    weight = 0.0
    for step in range(20):
        weight -= 0.1 / (step + 1) * 2 * (weight - step % 4)
    assert run.model.w.item() == pytest.approx(weight, rel=1e-5)  # type: ignore[union-attr]
    assert (run.progress.step, run.progress.epoch, run.progress.images) == (20, 5, 160)


def test_an_epoch_without_its_steps_is_an_error(make_run: MakeRun) -> None:
    """Not an end as if nothing had happened: the loader gives no batch, or is in another epoch than the run."""

    class Empty(FakeLoader):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter(())

    ahead = FakeLoader()
    ahead.epoch = 2
    for loader in (Empty(), ahead):
        with pytest.raises(InputError, match="epoch 0 ended at step 0 and not at 4"):
            fit(make_run([0.0] * 5, loader=loader))


def test_evaluates_and_saves_when_told(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every second epoch and at the end; best.pt only where top-1 rises, and before the last.pt that knows of it."""
    saved: list[tuple[str, int, float | None]] = []

    def save(path: Path, contents: dict[str, Any]) -> None:
        saved.append((path.name, contents["standing"]["epoch"], contents["standing"]["best_score"]))

    monkeypatch.setattr(checkpoint, "save", save)
    run = make_run([0.5, 0.5, 0.75], evaluate_every=2, save_every=3)
    assert fit(run)["top1"] == 0.75
    assert saved == [("best.pt", 2, 0.5), ("last.pt", 3, 0.5), ("best.pt", 5, 0.75), ("last.pt", 5, 0.75)]


def test_keeps_networks_of_past_epochs(make_run: MakeRun, tmp_path: Path) -> None:
    """Every second epoch under a name of its own, whole as a network, and left alone by what comes after."""
    run = make_run([0.0] * 5, keep_every=2)
    fit(run)
    kept = {path.name: checkpoint.load(path) for path in tmp_path.glob("epoch-*.pt")}
    assert sorted(kept) == ["epoch-0002.pt", "epoch-0004.pt"]
    assert [kept[name]["standing"]["step"] for name in sorted(kept)] == [8, 16]
    weights = [float(kept[name]["state_dict"]["w"]) for name in sorted(kept)]
    assert weights[0] != weights[1] != run.model.w.item()  # type: ignore[union-attr]


def test_waiting_is_what_the_loader_takes(make_run: MakeRun) -> None:
    """A loader that takes 20 ms a batch is waited for 80 ms an epoch; nothing else counts as waiting."""
    run = make_run([0.0] * 5, loader=FakeLoader(0.02), epochs=1)
    fit(run)
    assert 0.08 <= run.progress.wait_seconds <= run.progress.loop_seconds <= run.progress.wall_seconds


def flat_then_steep(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """0, with no slope at first and an infinite one in the last step of an epoch."""
    return torch.sqrt(model.w * 0) if batch["x"] == 3 else model.w * 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda model, batch: model(batch["x"]) * torch.nan, "the loss is nan at step 1 with learning rate 0.1: "),
        (lambda model, batch: (model(batch["x"]) + 1) / 0, "the loss is inf at step 1 "),
        (flat_then_steep, "weights are not finite after step 4 with learning rate 0.025: "),
    ],
)
def test_divergence_is_one_sentence_and_never_saved(
    make_run: MakeRun, tmp_path: Path, loss: Callable[..., Tensor], sentence: str
) -> None:
    """Step, learning rate and the way out are named, and no checkpoint holds weights that are not finite."""
    with pytest.raises(InputError, match=f"{sentence}.*training has diverged; lower lr"):
        fit(make_run([0.0] * 5, loss=loss))
    assert not (tmp_path / "last.pt").exists()


def test_a_signal_ends_an_evaluation(make_run: MakeRun) -> None:
    """It is asked for after each batch, and raised before the next one."""
    run, batches = make_run([]), []
    with pytest.raises(Stopped, match="SIGTERM"):
        for batch in stoppable(run, FakeLoader()):
            batches.append(batch)
            run.signals.received = signal.SIGTERM if len(batches) == 3 else 0
    assert len(batches) == 3


def test_random_numbers_belong_to_the_step() -> None:
    """The same for the same (seed, step, rank), whatever was drawn before; others for any other."""

    def drawn(*key: int) -> float:
        seed_step(*key)
        return torch.rand(()).item()

    with torch.random.fork_rng():
        keys = [(seed, step, rank) for seed in range(3) for step in range(3) for rank in range(3)]
        first = [drawn(*key) for key in keys]
        assert len(set(first)) == 27
        assert [drawn(*key) for key in reversed(keys)] == first[::-1]

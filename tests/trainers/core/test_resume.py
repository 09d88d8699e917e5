"""A run that was stopped, anywhere and by anything, ends as one that was not; what it cannot go on with is refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import flip_a_byte
from resuming import at_step, state_difference
from training import learnable_store, tiny_config

from sdali.pipelines import InputError
from sdali.pipelines.config import Augmentation, Colour
from sdali.trainers.classification import TrainConfig, train
from sdali.trainers.classification import job as classification_job
from sdali.trainers.classification.evaluation import count_hits
from sdali.trainers.core import checkpoint

EXACT: dict[str, Any] = {"deterministic": True, "ema": 0.9, "optimizer": "adamw"}


class Killed(Exception):
    """Stands for a kill that no handler sees."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    learnable_store(folder / "train.lmdb", 100)
    learnable_store(folder / "val.lmdb", 29)
    return folder


@pytest.fixture(scope="module")
def undisturbed(folder: Path) -> dict[str, Any]:
    """The checkpoint of two epochs in one go."""
    train(tiny_config(folder, "undisturbed", **EXACT))
    return checkpoint.load(folder / "undisturbed" / "last.pt")


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def kill() -> None:
    raise Killed


def resumed(config: TrainConfig) -> dict[str, Any]:
    result = train(dataclasses.replace(config, resume=True))
    assert (result["epochs"], result["steps"]) == (2, 12)
    return checkpoint.load(config.out / "last.pt")


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 6, 9])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal(
    folder: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: int, number: signal.Signals
) -> None:
    """SIGTERM or Ctrl-C in mid-epoch, or in an epoch's last step: saved after that step, exit as the shell expects;
    resumed, every bit is that of the undisturbed run.
    """
    config = tiny_config(folder, f"signal{step}{number.name}", **EXACT)
    with monkeypatch.context() as patch:
        at_step(step, send(number), patch)
        with pytest.raises(SystemExit if number == signal.SIGTERM else KeyboardInterrupt) as left:
            train(config)
    assert checkpoint.load(config.out / "last.pt")["standing"]["step"] == step
    assert getattr(left.value, "code", 143) == 143
    assert state_difference(undisturbed, resumed(config)) == ""


@pytest.mark.slow
def test_after_a_kill_in_mid_epoch(folder: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved by the clock is enough where no signal came; the steps after it are taken again."""
    config = tiny_config(folder, "killed", **EXACT, save_minutes=1e-9)
    with monkeypatch.context() as patch:
        at_step(9, kill, patch)
        with pytest.raises(Killed):
            train(config)
    assert checkpoint.load(config.out / "last.pt")["standing"]["step"] == 8
    assert state_difference(undisturbed, resumed(config)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [1, 2])
def test_after_a_signal_in_an_evaluation(
    folder: Path, undisturbed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """An evaluation is cut short, and made again by the resumed run before it trains on; after the last one there is
    nothing to train, and the checkpoint is the undisturbed one all the same.
    """
    config = tiny_config(folder, f"evaluating{epoch}", **EXACT)
    calls = iter(range(1, 9))

    def interrupted(*args: Any, **options: Any) -> Any:
        if next(calls) == epoch:
            os.kill(os.getpid(), signal.SIGTERM)
        return count_hits(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(classification_job, "count_hits", interrupted)
        with pytest.raises(SystemExit):
            train(config)
    left = checkpoint.load(config.out / "last.pt")["standing"]
    assert (left["epoch"], left["step"], left["score"] is None) == (epoch - 1, 6 * epoch, epoch == 1)
    done = resumed(config)
    assert state_difference(undisturbed, done) == ""
    assert done["standing"]["best_score"] == undisturbed["standing"]["best_score"]


@pytest.mark.slow
def test_a_finished_run_has_nothing_to_do_and_may_be_lengthened(folder: Path) -> None:
    """Resuming at the end returns its result; with more epochs it goes on; its cost adds up."""
    config = tiny_config(folder, "lengthened", epochs=1, evaluate_every=3)
    first = train(config)
    again = train(dataclasses.replace(config, resume=True))
    assert (again["top1"], again["steps"]) == (first["top1"], 6)
    more = train(dataclasses.replace(config, resume=True, epochs=2))
    assert (more["epochs"], more["steps"]) == (2, 12)
    assert more["wall_seconds"] > first["wall_seconds"]


@pytest.mark.slow
@pytest.mark.parametrize(("step", "batch_size", "steps"), [(3, 8, 24), (4, 24, 8), (5, 48, 4)])
def test_another_batch_size_goes_on_at_the_same_position(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: int, batch_size: int, steps: int
) -> None:
    """Stopped in the first of two epochs of 100 images in steps of 16, a run ends with its last step all the same.

    After 3 steps, steps of 8 are at 6 of 12; after 4, one step of 24 is left and not two; after 5, none of 48 is.
    """
    config = tiny_config(folder, f"rebatched{batch_size}")
    with monkeypatch.context() as patch:
        at_step(step, send(signal.SIGTERM), patch)
        with pytest.raises(SystemExit):
            train(config)
    result = train(dataclasses.replace(config, batch_size=batch_size, resume=True))
    assert (result["epochs"], result["steps"]) == (2, steps)
    events = [json.loads(line)["event"] for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert events.count("evaluate") == 2


@pytest.mark.slow
def test_nothing_is_overwritten_unasked(folder: Path) -> None:
    """Without --resume a run's folder is refused and left as it was; with it an empty folder is a beginning."""
    config = tiny_config(folder, "twice", epochs=1)
    train(dataclasses.replace(config, resume=True))
    before = (config.out / "last.pt").read_bytes()
    with pytest.raises(InputError, match=r"last\.pt exists already; pass resume=True"):
        train(config)
    assert (config.out / "last.pt").read_bytes() == before


@pytest.mark.parametrize("name", ["best.pt", "log.jsonl", "skipped.txt", "epoch-0003.pt"])
def test_what_a_run_without_a_last_checkpoint_left_is_kept(folder: Path, name: str) -> None:
    """It was killed before its first save, or its last.pt was moved: refused as with one, unless --resume is passed."""
    config = tiny_config(folder, f"left_{name}", epochs=1)
    config.out.mkdir()
    (config.out / name).write_text("{}\n")
    with pytest.raises(InputError, match=f"{name} exists already; pass resume=True to go on with it, or give another"):
        train(config)
    assert [path.name for path in config.out.iterdir()] == [name] and (config.out / name).read_text() == "{}\n"


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_keeps_its_log(folder: Path) -> None:
    """With --resume it begins again, behind the lines that are there."""
    config = tiny_config(folder, "early", epochs=1)
    config.out.mkdir()
    (config.out / "log.jsonl").write_text('{"event": "start"}\n')
    train(dataclasses.replace(config, resume=True))
    assert (config.out / "log.jsonl").read_text().startswith('{"event": "start"}\n{"event": "start", ')


@pytest.mark.slow
def test_what_differs_is_refused_or_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the checkpoint cannot go on with is refused with both values; what it can is done, and said."""
    config = dataclasses.replace(tiny_config(folder, "differs", epochs=1), resume=True)
    train(config)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"model": "resnet18"}, "has model tiny_dropout_net, and resnet18 is asked for"),
        ({"size": 48}, "has size 32, and 48 is asked for"),
        ({"optimizer": "adamw"}, "has optimizer sgd, and adamw is asked for"),
        ({"seed": 1}, "has seed 0, and 1 is asked for"),
        ({"ema": 0.9}, "has averaged weights no, and yes is asked for"),
        ({"heatmaps": folder / "h.lmdb"}, "has heatmaps no, and yes is asked for"),
        ({"store": folder / "val.lmdb"}, "has store digest"),
    ]
    for options, sentence in wrong:
        with pytest.raises(InputError, match=sentence):
            train(dataclasses.replace(config, **options))
    capsys.readouterr()
    train(dataclasses.replace(config, epochs=2, lr=0.01, augmentation=Augmentation(colour=Colour(lighting=0))))
    said = capsys.readouterr().err
    assert "going on from step 6 of 12; epochs 1 -> 2; lr None -> 0.01; augmentation.colour.lighting 0.1 -> 0" in said


@pytest.mark.slow
def test_classes_must_be_those_of_the_checkpoint(folder: Path) -> None:
    """A store whose classes were renamed is refused with the difference, before its digest is."""
    config = dataclasses.replace(tiny_config(folder, "classes", epochs=1), resume=True)
    train(config)
    for name, count in (("a.lmdb", 100), ("b.lmdb", 29)):
        learnable_store(folder / name, count, classes=("dark", "light", "striped"))
    other = dataclasses.replace(config, store=folder / "a.lmdb", val_store=folder / "b.lmdb")
    with pytest.raises(InputError, match="it lacks bright and it adds light"):
        train(other)


@pytest.mark.slow
def test_bad_samples_are_replaced_counted_and_listed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--on-error skip: the run ends as ever, with the sample in skipped.txt, the log and the progress line; without it
    the sample is named.
    """
    store = learnable_store(folder / "bad.lmdb", 100)
    flip_a_byte(store, 17)
    config = dataclasses.replace(tiny_config(folder, "skipping", epochs=1), store=folder / "bad.lmdb")
    with pytest.raises(InputError, match=r"sample 17 .*17\.jpg\) of .*bad\.lmdb is damaged"):
        train(config)
    config = dataclasses.replace(config, out=folder / "skipped", on_error="skip")
    assert train(config)["steps"] == 6
    assert (config.out / "skipped.txt").read_text() == f"17\t{store.names[17]}\n"
    assert "1 bad samples skipped" in capsys.readouterr().err
    lines = [json.loads(line) for line in (config.out / "log.jsonl").read_text().splitlines()]
    assert [line["skipped"] for line in lines if line["event"] == "train"] == [1]

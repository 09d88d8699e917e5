"""The record of a run: every line is JSON, intervals are averaged, TensorBoard gets the same numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdali.pipelines.errors import InputError
from sdali.trainers.core import log as run_log
from sdali.trainers.core.log import RunLog
from sdali.trainers.core.progress import RunProgress


def describe(result: dict[str, Any]) -> str:
    return f"top-1 {result['top1']:.1%}"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def take_steps(log: RunLog, at: RunProgress, losses: list[float]) -> None:
    for loss in losses:
        at.step, at.images = at.step + 1, at.images + 8
        at.loop_seconds, at.wait_seconds = at.loop_seconds + 2, at.wait_seconds + 0.5
        log.step(at, loss, 0.1)


def test_intervals_end_with_the_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record every few steps and at the end of an epoch, with the mean loss and the rates of that interval alone."""
    monkeypatch.setattr(run_log, "STEPS_BETWEEN_RECORDS", 3)
    at = RunProgress()
    with RunLog(tmp_path, at, epochs=2, steps_per_epoch=4, describe=describe, enabled=True) as log:
        take_steps(log, at, [1.0, 2.0, 3.0, 7.0, 5.0])
    found = [(line["step"], line["epoch"], line["loss"]) for line in lines(log.path)]
    assert found == [(3, 1, 2.0), (4, 1, 7.0)]
    assert {(line["images_per_second"], line["data_wait_share"]) for line in lines(log.path)} == {(4.0, 0.25)}


def test_parts_of_the_loss_are_averaged_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the same interval; the next begins anew."""
    monkeypatch.setattr(run_log, "STEPS_BETWEEN_RECORDS", 2)
    at = RunProgress()
    with RunLog(tmp_path, at, epochs=1, steps_per_epoch=4, describe=describe, enabled=True) as log:
        for step, box in enumerate([1.0, 3.0, 5.0, 6.0], 1):
            at.step = step
            log.step(at, 10 * box, 0.1, {"box": box})
    assert [(line["loss"], line["loss_box"]) for line in lines(log.path)] == [(20.0, 2.0), (55.0, 5.5)]


def test_a_log_is_never_begun_again(tmp_path: Path) -> None:
    """Nothing of a run that goes on is lost, also where it was killed before its first checkpoint."""
    for step, events in [(0, ["a"]), (0, ["a", "b"]), (5, ["a", "b", "c"])]:
        with RunLog(
            tmp_path, RunProgress(step=step), epochs=2, steps_per_epoch=4, describe=describe, enabled=True
        ) as log:
            log.record(events[-1], x=None)
        assert [line["event"] for line in lines(log.path)] == events


def test_evaluations_reach_log_terminal_and_tensorboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One evaluation: a JSON line, a line on stderr, scalars at its step."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    result = {"top1": 0.5, "top5": 0.75, "loss": 1.5, "images": 8, "per_class": [0.5, 0.5]}
    with RunLog(tmp_path, RunProgress(), epochs=3, steps_per_epoch=4, describe=describe, enabled=True) as log:
        log.evaluated(RunProgress(epoch=1, step=4), result)
    (line,) = lines(log.path)
    del line["time"], result["per_class"]
    assert line == {"event": "evaluate", "step": 4, "epoch": 1, **result}
    assert capsys.readouterr().err == "epoch 1 of 3: top-1 50.0%\n"
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("evaluate/top1")] == [(4, 0.5)]


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not installed, the log is the same and no folder appears."""
    monkeypatch.setattr(run_log.importlib.util, "find_spec", lambda name: None)
    with RunLog(tmp_path, RunProgress(), epochs=1, steps_per_epoch=1, describe=describe, enabled=True) as log:
        take_steps(log, RunProgress(), [1.0])
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_other_ranks_are_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the enabled rank writes and shows."""
    with RunLog(tmp_path, RunProgress(), epochs=1, steps_per_epoch=1, describe=describe, enabled=False) as log:
        take_steps(log, RunProgress(), [1.0])
        log.evaluated(RunProgress(), {"top1": 1.0, "loss": 0.0, "images": 1})
        log.record("end")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_an_unwritable_log_is_one_sentence(tmp_path: Path) -> None:
    """The file is named."""
    (tmp_path / "log.jsonl").mkdir()
    with pytest.raises(InputError, match=r"cannot write .*log\.jsonl"):
        RunLog(tmp_path, RunProgress(), epochs=1, steps_per_epoch=1, describe=describe, enabled=True)

"""What a run shows on stderr: a live line on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sdali.trainers.core import log as run_log
from sdali.trainers.core.log import Bar, Lines, display


def test_bar_shows_steps_words_and_time() -> None:
    """On a terminal one line holds the bar, the steps and the words as they are; lines that stay go above it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = Bar(100, 40, console)
    bar.show(60, "epoch 2/3, loss 1.2 [3%]")
    bar.say("epoch 1 of 3: [top-1]")
    bar.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "60/100" in shown
    assert "epoch 2/3, loss 1.2 [3%]" in shown
    assert "epoch 1 of 3: [top-1]\n" in shown


def test_lines_are_rare_and_estimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe at most a line a minute; the remaining time is at the pace of this start, not of the whole run."""
    clock = iter([0.0, 59.0, 100.0, 101.0])
    monkeypatch.setattr(run_log.time, "monotonic", lambda: next(clock))
    lines = Lines(100, 40)
    for step in (49, 50, 51):
        lines.show(step, "loss 1.2")
    assert capsys.readouterr().err == "step 50 of 100, loss 1.2, 500 s left\n"


def test_stderr_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """No live line where stderr is no terminal."""
    monkeypatch.setattr(run_log.sys, "stderr", io.StringIO())
    assert isinstance(display(10, 0), Lines)

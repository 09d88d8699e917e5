"""Progress on stderr: a bar on a terminal, lines elsewhere, and never a change of what passes through."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from sdali.pipelines.io import progress

_ON_A_TERMINAL = """
import os, pty, sys
master, slave = pty.openpty()
pid = os.fork()
if pid == 0:
    os.dup2(slave, 2)
    from sdali.pipelines.io.progress import track
    assert list(track(iter(range(50)), 50, "building")) == list(range(50))
    os._exit(0)
os.close(slave)
text = b""
try:
    while chunk := os.read(master, 4096):
        text += chunk
except OSError:
    pass
sys.stdout.write(text.decode())
"""


def test_lines_tell_count_rate_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Away from a terminal a line a minute goes to stderr, nothing to stdout."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(progress.track(iter("abc"), 3, "building")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 3
    assert captured.err.startswith("building 1 of 3, ") and captured.err.endswith("/s, 0 s left\n")


def test_lines_are_rare_and_estimate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At most a line a minute; the remaining time is at the pace of this start, not of the whole job."""
    clock = iter([0.0, 59.0, 100.0, 101.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    lines = progress.Lines(100, 40)
    for step in (49, 50, 51):
        lines.show(step, "loss 1.2")
    assert capsys.readouterr().err == "step 50 of 100, loss 1.2, 500 s left\n"


def test_a_bar_shows_counts_and_words_as_they_are() -> None:
    """One live line holds the count and the words; lines that stay go above it."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = progress.Bar(100, 40, console=console)
    bar.show(60, "epoch 2/3, loss 1.2 [3%]")
    bar.say("epoch 1 of 3: [top-1]")
    bar.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "60/100" in shown and "epoch 2/3, loss 1.2 [3%]" in shown and "epoch 1 of 3: [top-1]\n" in shown


def test_stderr_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """No live line where stderr is no terminal."""
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    assert isinstance(progress.display(10), progress.Lines)


def test_silent_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """The same items, no output."""
    assert list(progress.silent(iter("abc"), 3, "building")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_a_terminal_gets_a_bar() -> None:
    """On a terminal the bar names the job and ends with all items."""
    result = subprocess.run([sys.executable, "-c", _ON_A_TERMINAL], capture_output=True, text=True, timeout=60)
    assert "building" in result.stdout and "50/50" in result.stdout and "/s" in result.stdout, result.stderr

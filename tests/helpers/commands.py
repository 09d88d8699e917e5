"""Running commands: in a process of their own or in this one, expecting a result or a refusal."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from sdali.cli.main import main


def run(*words: object, **options) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own."""
    command = [sys.executable, "-m", "sdali.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, **options)


def result_of(*words: object, **options) -> dict:
    """The JSON on the last line of stdout of a command that succeeds."""
    done = run(*words, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def refusal_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one sentence of a command that must fail with status 2."""
    assert main(list(map(str, words))) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err
    (sentence,) = [line for line in printed.err.splitlines() if line.startswith("sdali: ")]
    return sentence


def report_of(capsys: pytest.CaptureFixture[str], *words: object) -> dict:
    """As result_of, but in this process: a twentieth of the time."""
    status = main(list(map(str, words)))
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return json.loads(printed.out.splitlines()[-1])

"""All that is parsed, fed with anything: InputError is the only exception. The long version, guided by the branches
that are reached, is `scripts/robustness fuzz`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from robustness import fuzz
from robustness.fuzz_run import compiled_modules
from robustness.fuzz_targets import TARGETS, Check

from sdali.pipelines.io.terminal import run_command


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Check]:
    return {name: target.check(tmp_path_factory.mktemp(name)) for name, target in TARGETS.items()}


@pytest.fixture(scope="module")
def seeds() -> dict[str, list[bytes]]:
    return {name: target.seeds() for name, target in TARGETS.items()}


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_files_are_refused_or_read(
    checks: dict[str, Check], seeds: dict[str, list[bytes]], name: str, data: st.DataObject
) -> None:
    """Any bytes, and sound files with bytes changed, left out and put in."""
    content = bytearray(data.draw(st.one_of(st.sampled_from(seeds[name]), st.binary(max_size=200))))
    for _ in range(data.draw(st.integers(0, 4))):
        begin = data.draw(st.integers(0, len(content)))
        end = min(len(content), begin + data.draw(st.sampled_from([0, 1, 2, 4, 8, 100])))
        content[begin:end] = data.draw(st.one_of(st.binary(max_size=9), st.just(bytes(end - begin))))
    checks[name](bytes(content))


def fake_atheris(path: Path, script: str) -> str:
    """A Python in whose place a shell script runs; $kept is the folder for findings."""
    path.write_text(
        f'#!/bin/sh\nfor word; do case "$word" in -artifact_prefix=*) kept="${{word#*=}}";; esac; done\n{script}\n'
    )
    path.chmod(0o755)
    return str(path)


def test_what_is_found_is_kept_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An exception by its line, a crash by what libFuzzer calls it; exit status 1."""
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda name: name)
    report = "echo ' === Uncaught Python exception: ==='; echo 'KeyError: 5'; printf bad > ${kept}crash-1; exit 77"
    monkeypatch.setattr(sys, "executable", fake_atheris(tmp_path / "python", report))
    monkeypatch.setattr(sys, "argv", ["fuzz", "heatmap", "--findings", str(tmp_path / "found")])
    assert fuzz.main() == 1
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    file = tmp_path / "found" / "heatmap-crash-1"
    assert record["findings"] == [{"file": str(file), "message": "KeyError: 5"}] and file.read_bytes() == b"bad"
    hang = "echo '==1== ERROR: libFuzzer: timeout after 22 seconds' >&2; printf x > ${kept}timeout-1; exit 70"
    fake_atheris(tmp_path / "python", hang)
    (found,) = fuzz.fuzz("heatmap", 1, tmp_path / "found")["findings"]
    assert found["message"] == "libFuzzer: timeout after 22 seconds"
    fake_atheris(tmp_path / "python", "echo 'Done 2345 runs in 1 second(s)'")
    assert fuzz.fuzz("heatmap", 1, tmp_path / "found")["tried"] == 2345
    fake_atheris(tmp_path / "python", "exit 1")
    with pytest.raises(RuntimeError, match="ended with 1 and no finding"):
        fuzz.fuzz("heatmap", 1, tmp_path / "found")


def test_without_atheris_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["fuzz", "voc"])
    assert run_command(fuzz.main) == 2
    assert capsys.readouterr().err == "sdali: atheris is missing: install it with pip install 'sdali[fuzz]'\n"


def test_atheris_drives_a_target(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    record = fuzz.fuzz("heatmap", 2, tmp_path / "found")
    assert record["tried"] > 100 and record["findings"] == [] and not (tmp_path / "found").exists()


def test_compiled_modules_are_known() -> None:
    """By their full names, so that atheris leaves them as they are."""
    assert "sdali.pipelines.graph.kernels.window" in compiled_modules()

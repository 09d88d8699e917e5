"""Names with control characters: lists keep their lines, terminals obey nobody's file names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.cli.main import main
from sdali.pipelines.io.escaped import escaped
from sdali.pipelines.io.tables import show
from sdali.trainers.core.log import write_skipped

NASTY = "a\n7\tb.jpg\r\x1b[2J\x85\u2028熊\\n.jpg"


@given(st.text())
def test_one_line_without_controls(text: str) -> None:
    """Whatever the text, it becomes one line; what is printable stays as it is."""
    line = escaped(text)
    assert len(line.splitlines()) <= 1 and not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in line)
    if text.isprintable():
        assert line == text


def test_the_list_of_skipped_samples_has_a_line_each(tmp_path: Path) -> None:
    """A file name cannot make up lines, or indices; surrogates of undecodable names are kept as their bytes."""
    write_skipped(tmp_path, [(3, NASTY), (4, "b\udcff.jpg")])
    lines = (tmp_path / "skipped.txt").read_bytes().split(b"\n")
    assert lines == [rb"3" + b"\ta\\n7\\tb.jpg\\r\\x1b[2J\\x85\\u2028" + "熊\\n.jpg".encode(), b"4\tb\xff.jpg", b""]


def test_terminals_see_no_sequences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In tables, and in the sentence of a refusal."""
    show("title", ["name"], [[NASTY]])
    assert "\\x1b[2J" in (table := capsys.readouterr().err) and "\x1b[2J" not in table
    assert main(["info", str(tmp_path / "x\x1b[2J.lmdb")]) == 2
    assert "\\x1b[2J.lmdb does not exist" in (said := capsys.readouterr().err) and "\x1b" not in said

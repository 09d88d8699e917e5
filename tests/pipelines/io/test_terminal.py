"""What commands print: no traceback whatever the streams are, nothing printed into a file of ours, no controls."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import jpeg, make_store, photo

from sdali.cli.main import main
from sdali.pipelines import ImageStore
from sdali.pipelines.io.terminal import escaped, print_table
from sdali.trainers.core.log import write_skipped

CLOSED, FULL = "stdout is closed, so the result cannot be printed; open it", "cannot write to stdout (No space left"
CASES = {
    "sdali.cli info {store} >&-": (2, CLOSED),
    "sdali.cli info {store} >/dev/full": (2, FULL),
    "sdali.cli info {store} 2>&-": (0, ""),
    "sdali.cli info {store} 2>/dev/full": (0, ""),
    "sdali.cli info {store} >&- 2>&-": (2, ""),
    "sdali.cli info none 2>/dev/full": (2, ""),
    "sdali.cli info none 2>&-": (2, ""),
    "sdali.cli info --help >&-": (2, CLOSED),
    "sdali.cli info --help >/dev/full": (2, FULL),
    "sdali.cli --help >/dev/full": (2, FULL),
    "sdali.cli info {store} | head -c 1": (0, ""),
    "sdali.cli info --help | head -c 1": (0, ""),
    "sdali.benchmarks.costs.starved --help >/dev/full": (2, FULL),
    "sdali.benchmarks.ablations parsing --set none --out none 2>/dev/full": (2, ""),
}
NASTY = "a\n7\tb.jpg\r\x1b[2J\x85\u2028熊\\n.jpg"


@pytest.mark.slow
@pytest.mark.parametrize("words", CASES)
def test_no_stream_makes_a_traceback(tmp_path: Path, words: str) -> None:
    """The exit status is that of the work where only stderr is lost, and 2 where the result is."""
    store = make_store(tmp_path / "s", 4).path
    command = f"set -o pipefail; {sys.executable} -m {words.format(store=store)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    status, sentence = CASES[words]
    assert done.returncode == status and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
    if status == 0 and "head" not in words:
        json.loads(done.stdout)
    elif status == 2:
        assert not done.stdout  # a sentence that stderr cannot take is not printed there instead


@pytest.mark.slow
def test_what_libraries_print_does_not_get_into_a_store(tmp_path: Path) -> None:
    """With stderr closed the store's file would be descriptor 2, on which decoders complain."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(photo(0, 40, 50)))
    code = (
        "import os, sys\n"
        "from sdali.cli import main, store\n"
        "def build(*args, **options):\n"
        "    file = open('out', 'wb')\n"
        "    os.write(2, b'a complaint')\n"
        "    return {'skipped': [], 'left_out': {}, 'descriptor': file.fileno()}\n"
        "store.build = build\n"
        "sys.exit(main.main(['build', 'photos', 's.lmdb']))\n"
    )
    command = f'{sys.executable} -c "$1" 2>&-'
    done = subprocess.run(["bash", "-c", command, "bash", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["descriptor"] > 2
    assert (tmp_path / "out").read_bytes() == b""
    command = f"{sys.executable} -m sdali.cli build photos s.lmdb 0>&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
    assert len(ImageStore(tmp_path / "s.lmdb")) == 1


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
    print_table("title", ["name"], [[NASTY]])
    assert "\\x1b[2J" in (table := capsys.readouterr().err) and "\x1b[2J" not in table
    assert main(["info", str(tmp_path / "x\x1b[2J.lmdb")]) == 2
    assert "\\x1b[2J.lmdb does not exist" in (refusal := capsys.readouterr().err) and "\x1b" not in refusal


def test_a_name_wider_than_the_terminal_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """Folded over lines, and not an ellipsis for what does not fit."""
    name = "".join(f"{number}-" for number in range(100))
    print_table("title", ["name", "reason"], [[name, "is not an image"]])
    lines = capsys.readouterr().err.splitlines()[4:]
    assert "".join(line.split()[0] for line in lines if line.strip()) == name

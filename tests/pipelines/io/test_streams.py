"""Closed, full and abandoned streams: no traceback, the status that is due, and nothing printed into a file of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import jpeg, make_store, photo

from sdali.pipelines import ImageStore

CLOSED, FULL = "stdout is closed, so the result cannot be printed; open it", "cannot write to stdout (No space left"
CASES = {
    "cli info {store} >&-": (2, CLOSED),
    "cli info {store} >/dev/full": (2, FULL),
    "cli info {store} 2>&-": (0, ""),
    "cli info {store} 2>/dev/full": (0, ""),
    "cli info {store} >&- 2>&-": (2, ""),
    "cli info none 2>/dev/full": (2, ""),
    "cli info none 2>&-": (2, ""),
    "cli info --help >&-": (2, CLOSED),
    "cli info --help >/dev/full": (2, FULL),
    "cli --help >/dev/full": (2, FULL),
    "cli info {store} | head -c 1": (0, ""),
    "cli info --help | head -c 1": (0, ""),
    "faults stores --count 1 >/dev/full": (2, FULL),
    "faults stores --count 1 2>&-": (0, ""),
    "faults --help >&-": (2, CLOSED),
    "fuzz store --seconds 0 2>/dev/full": (2, ""),
    "starved --help >/dev/full": (2, FULL),
    "ablations parsing --set none --out none 2>/dev/full": (2, ""),
}


@pytest.mark.parametrize("words", CASES)
def test_no_stream_makes_a_traceback(tmp_path: Path, words: str) -> None:
    """The exit status is that of the work where only stderr is lost, and 2 where the result is."""
    store = make_store(tmp_path / "s", 4).path
    module, _, rest = words.format(store=store).partition(" ")
    command = f"set -o pipefail; {sys.executable} -m sdali.benchmarks.{module} {rest}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    status, sentence = CASES[words]
    assert done.returncode == status and sentence in done.stderr and "Traceback" not in done.stderr, done.stderr
    if status == 0 and "head" not in words:
        json.loads(done.stdout)
    elif status == 2:
        assert not done.stdout  # a sentence that stderr cannot take is not printed there instead


def test_what_libraries_print_does_not_get_into_a_store(tmp_path: Path) -> None:
    """With stderr closed the store's file would be descriptor 2, on which decoders complain."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(photo(0, 40, 50)))
    code = (
        "import os, sys\n"
        "from sdali.benchmarks import cli, commands_store\n"
        "def build(*args, **options):\n"
        "    file = open('out', 'wb')\n"
        "    os.write(2, b'a complaint')\n"
        "    return {'skipped': [], 'descriptor': file.fileno()}\n"
        "commands_store.build = build\n"
        "sys.exit(cli.main(['build', 'photos', 's.lmdb']))\n"
    )
    command = f'{sys.executable} -c "$1" 2>&-'
    done = subprocess.run(["bash", "-c", command, "bash", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["descriptor"] > 2
    assert (tmp_path / "out").read_bytes() == b""
    command = f"{sys.executable} -m sdali.cli build photos s.lmdb >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=tmp_path).returncode == 2
    assert len(ImageStore(tmp_path / "s.lmdb")) == 1

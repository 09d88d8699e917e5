"""A store that is replaced while it is in use: who has opened it keeps the old one, who opens it gets the new."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loading import by_position, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError
from sdali.pipelines.store.writer import StoreWriter

READER = """
import json, sys, time
from sdali.pipelines import ImageStore
print("ready", flush=True)
seen = {}
while time.monotonic() < float(sys.argv[2]):
    store = ImageStore(sys.argv[1])
    records = [bytes(store.read([index])[0]) for index in range(len(store))]
    whole = records == [str(store.header["provenance"]["turn"]).encode() * 1000] * len(store)
    seen.setdefault(store.digest, []).append(whole)
print(json.dumps({digest: [len(found), all(found)] for digest, found in seen.items()}))
"""


def test_a_loader_keeps_the_store_that_it_opened(tmp_path: Path) -> None:
    """Replaced in mid-epoch, its file is gone from the folder and all of its batches still come, to the last byte."""
    pytest.importorskip("nvidia.dali")
    path, twin = tmp_path / "s.lmdb", make_store(tmp_path / "twin.lmdb", 60)
    loader = make(make_store(path, 60), 10)
    batches = iter(loader)
    received = [next(batches), next(batches)]
    path.unlink()
    other = make_store(path, 61)
    received += list(batches)
    assert by_position(*received) == by_position(*make(twin, 10))
    assert len(ImageStore(path)) == 61 and other.digest != twin.digest
    assert loader.state_dict()["store"] == twin.digest


def write(path: Path, turn: int) -> str:
    with StoreWriter(path, classes=(), overwrite=True, provenance={"turn": turn}) as writer:
        for index in range(5 + turn % 3):
            writer.add(str(turn).encode() * 1000, label=-1, height=2, width=2, name=f"{index}.jpg")
    return ImageStore(path).digest


@pytest.mark.parametrize("through_a_loader", [False, True])
def test_a_store_that_is_written_over_says_so(tmp_path: Path, through_a_loader: bool) -> None:
    """Copied over in place, so that what was opened is gone: one sentence, without a name that stands there no more."""
    path, store = tmp_path / "s.lmdb", make_store(tmp_path / "s.lmdb", 60)
    other = make_store(tmp_path / "other.lmdb", 90)
    batches = iter(make(store, 10, on_error="skip")) if through_a_loader else None
    if batches:
        next(batches)
    with path.open("r+b") as file:  # not truncated first, which would end this process by SIGBUS where it reads
        file.write(other.path.read_bytes())
    with pytest.raises(InputError, match=r"s\.lmdb was written over while it was in use; start again") as error:
        _ = list(batches) if batches else store.read(range(60))
    assert type(error.value) is InputError  # no bad sample that on_error="skip" would replace


@pytest.mark.slow
def test_two_readers_and_a_builder(tmp_path: Path) -> None:
    """While one process replaces a store again and again, two others open it and read all of it, without an error:
    every time it is one of those that were built, whole.
    """
    path = tmp_path / "s.lmdb"
    built = {write(path, 10)}
    end = time.monotonic() + 6
    command = [sys.executable, "-c", READER, str(path), str(end)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
    turn = 10
    while time.monotonic() < end:  # and not until the readers have ended: they say more than a pipe holds
        turn += 1
        built.add(write(path, turn))
    seen = set()
    for reader in readers:
        said, complaints = reader.communicate(timeout=20)
        assert reader.returncode == 0, complaints
        found = json.loads(said)
        assert all(is_whole for _, is_whole in found.values())
        seen |= set(found)
    assert len(seen) > 2 and seen <= built
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.lmdb"]

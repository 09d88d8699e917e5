"""Our LMDB files are LMDB's: read, checked, copied and changed by LMDB itself, and equal in shape to its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.store import lmdb_pages, lmdb_write
from sdali.pipelines.store.lmdb_write import LmdbFile

Records = Mapping[bytes, Sequence[tuple[bytes, bytes]]]

# Around the largest node with an 8-byte key (2,038 bytes), around page multiples less a header, and far from both.
SIZES = [0, 1, 7, 100, 2021, 2022, 2023, 2024, 4080, 4081, 8176, 8177, 70_000, 3 << 20]


def numbered(count: int, size: int) -> list[tuple[bytes, bytes]]:
    return [(index.to_bytes(8, "big"), bytes([index % 251]) * size) for index in range(count)]


def write(path: Path, records: Records, offsets: dict[bytes, list[int]] | None = None) -> Path:
    """The databases' records, one of each in turn, as a store's images, masks and boxes come; fills `offsets`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    file = LmdbFile(descriptor, records)
    for place in range(max(map(len, records.values()), default=0)):
        for name, pairs in records.items():
            if place < len(pairs):
                file.put(name, *pairs[place])
    if offsets is not None:
        offsets.update({name: list(file.offsets(name)) for name in records})
    file.finish()
    os.close(descriptor)
    return path


def opened(path: Path, **options: object) -> lmdb.Environment:
    return lmdb.open(str(path), subdir=False, lock=False, max_dbs=8, **options)  # type: ignore[arg-type]


def content(path: Path) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Everything in the file, through a cursor of py-lmdb."""
    with opened(path, readonly=True) as environment, environment.begin() as transaction:
        names = list(transaction.cursor().iternext(values=False))
        databases = {name: environment.open_db(name, txn=transaction, create=False) for name in names}
        return {name: list(transaction.cursor(database)) for name, database in databases.items()}


def shapes(path: Path) -> dict[bytes, Any]:
    """LMDB's statistics of each database: depth, branch, leaf and overflow pages, entries."""
    with opened(path, readonly=True) as environment, environment.begin() as transaction:
        names = list(transaction.cursor().iternext(values=False))
        return {name: transaction.stat(environment.open_db(name, txn=transaction, create=False)) for name in names}


def appended(path: Path, records: Records) -> Path:
    """The same content, appended by LMDB."""
    with opened(path, lib_version=0, map_size=1 << 30) as environment:
        for name, pairs in records.items():
            database = environment.open_db(name)
            with environment.begin(write=True, db=database) as transaction:
                for key, value in pairs:
                    assert transaction.put(key, value, append=True)
    return path


def used_pages(path: Path) -> int:
    """Pages reachable from the main database, from the statistics; all but the meta pages must be."""
    with opened(path, readonly=True) as environment:
        main = environment.stat()
    trees = [main, *shapes(path).values()]
    return sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)


KEYS = st.lists(st.binary(min_size=1, max_size=511), unique=True, max_size=60).map(sorted)
VALUES = st.sampled_from(SIZES[:-1]) | st.integers(0, 5000)


@settings(max_examples=60)
@given(st.lists(KEYS, max_size=3), st.data())
def test_lmdb_reads_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, keys: list[list[bytes]], data: st.DataObject
) -> None:
    """Any keys, sizes, numbers of records and of databases, empty ones too; every page belongs to one of them, and the
    offsets say where each value lies.
    """
    records: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for number, ordered in enumerate(keys):
        sizes = data.draw(st.lists(VALUES, min_size=len(ordered), max_size=len(ordered)))
        pairs = [(key, bytes([size % 256]) * size) for key, size in zip(ordered, sizes, strict=True)]
        records[b"database %d" % number] = pairs
    offsets: dict[bytes, list[int]] = {}
    path = write(tmp_path_factory.mktemp("lmdb") / "f.lmdb", records, offsets)
    assert content(path) == records
    raw = path.read_bytes()
    for name, pairs in records.items():
        assert [raw[at : at + len(value)] for at, (_, value) in zip(offsets[name], pairs, strict=True)] == [
            value for _, value in pairs
        ]
    assert path.stat().st_size == (2 + used_pages(path)) * lmdb_pages.PAGE_BYTES


@given(st.lists(st.sampled_from(SIZES), max_size=12), st.lists(st.booleans(), min_size=12, max_size=12))
@example([3 << 20, 1, 3 << 20], [False, True, False] * 4)
def test_databases_interleave(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], has_mask: list[bool]) -> None:
    """Records of several MB between small ones, and masks for some samples only."""
    images = [(index.to_bytes(8, "big"), os.urandom(size)) for index, size in enumerate(sizes)]
    masks = [(key, b"mask" + key) for (key, _), has in zip(images, has_mask, strict=False) if has]
    path = write(tmp_path_factory.mktemp("lmdb") / "f.lmdb", {b"images": images, b"masks": masks})
    assert content(path) == {b"images": images, b"masks": masks}


@pytest.mark.parametrize(
    ("count", "size", "depth"),
    [(0, 0, 0), (1, 0, 1), (156, 5000, 1), (157, 5000, 2), (204, 1, 1), (205, 1, 2), (454, 2000, 2), (456, 2000, 3)],
)
@pytest.mark.parametrize("even", [True, False])
def test_trees_have_the_shape_of_lmdbs_own(tmp_path: Path, count: int, size: int, depth: int, even: bool) -> None:
    """Depth, leaf pages, overflow pages and entries are those that LMDB's append makes, and no branch pages more.

    (It halves a full branch page; here all but the last are full.)
    """
    records = {b"images": numbered(count, size + (not even))}
    mine = shapes(write(tmp_path / "mine.lmdb", records))[b"images"]
    theirs = shapes(appended(tmp_path / "theirs.lmdb", records))[b"images"]
    assert mine["branch_pages"] <= theirs["branch_pages"] and mine["depth"] == theirs["depth"]
    if even:
        assert mine["depth"] == depth
    for what in ("leaf_pages", "overflow_pages", "entries"):
        assert mine[what] == theirs[what]


def test_leaf_pages_are_lmdbs_to_the_byte(tmp_path: Path) -> None:
    """A tree of one leaf page, inline and overflow nodes in it, is the page that LMDB writes, but for page numbers."""
    records = {b"d": [(b"a", b"x"), (b"bc", b"y" * 300), (b"d", b""), (b"e", b"z" * 1001)]}
    pages = []
    for path in (write(tmp_path / "mine", records), appended(tmp_path / "theirs", records)):
        raw = path.read_bytes()
        found = [raw[at : at + 4096] for at in range(8192, len(raw), 4096) if b"y" * 300 in raw[at : at + 4096]]
        pages.append(found[-1])
    mine, theirs = pages
    low, high = np.frombuffer(mine, "<u2", 2, 12)
    assert mine[8:low] == theirs[8:low] and mine[high:] == theirs[high:]


@pytest.mark.parametrize("count", [3, 157, 456, 30_000])
def test_lmdb_goes_on_writing(tmp_path: Path, count: int) -> None:
    """Appending, inserting, replacing and deleting in our trees keeps every other record: LMDB splits and merges pages
    by the same rules, and would fail an assertion, which ends the process, on a tree that breaks them.
    """
    rng = np.random.default_rng(count)
    expected = dict(numbered(count, 1 if count > 1000 else 2000))
    path = write(tmp_path / "f.lmdb", {b"images": sorted(expected.items()), b"masks": []})
    with opened(path, map_size=1 << 30) as environment:
        images, masks = environment.open_db(b"images"), environment.open_db(b"masks")
        for _ in range(4):
            with environment.begin(write=True) as transaction:
                for index in rng.permutation(2 * count)[:count].tolist():
                    key = index.to_bytes(8, "big")
                    if rng.random() < 0.6:
                        assert transaction.delete(key, db=images) == (expected.pop(key, None) is not None)
                    else:
                        expected[key] = bytes(int(rng.choice([1, 500, 2022, 2023, 9000])))
                        assert transaction.put(key, expected[key], db=images)
                        assert transaction.put(key, b"mask", db=masks)
    assert content(path)[b"images"] == sorted(expected.items())


@pytest.mark.skipif(not shutil.which("mdb_stat"), reason="lmdb-utils are not installed")
@pytest.mark.parametrize(("count", "size"), [(1, 10), (500, 5000), (456, 2000), (60_000, 1)])
def test_lmdbs_tools_accept_the_file(tmp_path: Path, count: int, size: int) -> None:
    """mdb_stat finds no free page, mdb_dump every record, and mdb_copy -c, which fails where a page is lost, copies."""
    records = {b"images": numbered(count, size), b"masks": numbered(count // 2, 7)}
    path = write(tmp_path / "f.lmdb", records)

    def run(*command: str) -> str:
        return subprocess.run([*command], capture_output=True, text=True, check=True).stdout

    statistics = run("mdb_stat", "-a", "-e", "-f", "-n", str(path))
    assert "Free pages: 0" in statistics and f"Entries: {count}\n" in statistics
    dumped = run("mdb_dump", "-n", "-s", "images", str(path)).split("HEADER=END\n")[1].split()
    assert dumped[:-1] == [part.hex() for pair in records[b"images"] for part in pair]
    run("mdb_copy", "-n", "-c", str(path), str(tmp_path / "copy.lmdb"))
    assert content(tmp_path / "copy.lmdb") == records
    assert (tmp_path / "copy.lmdb").stat().st_size == path.stat().st_size


def test_the_meta_pages_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until all else is on disk the file begins with zeros, and LMDB takes it for none."""
    seen = []
    real = os.fsync

    def look(descriptor: int) -> None:
        seen.append(bytes(os.pread(descriptor, 8192, 0)) == bytes(8192))
        if seen == [True]:
            with pytest.raises(lmdb.Error):
                opened(tmp_path / "f.lmdb", readonly=True)
        real(descriptor)

    monkeypatch.setattr(lmdb_write.os, "fsync", look)
    write(tmp_path / "f.lmdb", {b"images": numbered(300, 5000)})
    assert seen == [True, False]


def test_short_writes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that takes 1,000 bytes at a time gets the same file."""
    records = {b"images": numbered(40, 5000), b"masks": numbered(3, 0)}
    whole = write(tmp_path / "whole.lmdb", records).read_bytes()
    real = os.pwritev
    monkeypatch.setattr(
        lmdb_write.os,
        "pwritev",
        lambda descriptor, buffers, offset: real(descriptor, [b"".join(buffers)[:1000]], offset),
    )
    assert write(tmp_path / "short.lmdb", records).read_bytes() == whole


def test_writing_is_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write but the meta pages' begins where the one before ended, and little waits in memory."""
    writes = []
    real = os.pwritev

    def look(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
        writes.append((offset, sum(map(len, buffers))))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(lmdb_write.os, "pwritev", look)
    write(tmp_path / "f.lmdb", {b"images": numbered(300, 50_000), b"masks": numbered(300, 900)})
    *data, meta = writes
    ends = [offset + size for offset, size in data]
    assert [offset for offset, _ in data] == [8192, *ends[:-1]] and meta == (0, 8192)
    assert max(size for _, size in data) < 400_000


def test_keys_out_of_order_and_values_beyond_lmdb_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is our own mistake; the second a user's, told in a sentence (4 GiB, here lowered)."""
    with pytest.raises(AssertionError, match="does not come after"):
        write(tmp_path / "f", {b"d": [(b"b", b""), (b"b", b"")]})
    monkeypatch.setattr(lmdb_pages, "LONGEST_VALUE", 9999)
    with pytest.raises(InputError, match="a record has 10,000 bytes, and LMDB holds less than 4 GiB"):
        write(tmp_path / "f", {b"d": [(b"b", bytes(10_000))]})

"""What opening a store checks before anything is read: the file, its header, its columns and its offsets."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.format import FORMAT, columns_of
from sdali.pipelines.store.heatmaps import FORMAT as HEATMAPS
from sdali.pipelines.store.heatmaps import HeatmapStore, read_header
from sdali.pipelines.store.index import image_header
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.statistics import load
from sdali.pipelines.store.writer import StoreWriter

IMAGES = {
    **{"format": FORMAT, "schema": 2, "count": 3, "classes": ["a", "b"], "digest": "0", "ignore_index": None},
    "columns": columns_of(has_masks=True, has_boxes=True, has_ids=True, has_areas=True),
    "category_ids": [3, 1],
}
MAPS = {"format": HEATMAPS, "schema": 2, "count": 3, "images_digest": "0", "method": "cam", "digest": "1"}

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def changed(sound: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The header with some values replaced and some left out, or no header at all."""
    values = st.dictionaries(st.sampled_from(sorted(sound)), anything, max_size=2)
    left_out = st.sets(st.sampled_from(sorted(sound)), max_size=1)
    headers = st.builds(
        lambda new, gone: {k: v for k, v in {**sound, **new}.items() if k not in gone}, values, left_out
    )
    documents = st.one_of(headers, anything).map(json.dumps).map(str.encode)
    return st.one_of(documents, st.binary(max_size=40))


NESTED = b"[" * 100_000


@given(changed(IMAGES))
@example(json.dumps(IMAGES).encode())
@example(NESTED)
def test_a_header_of_images_is_refused_or_right(raw: bytes) -> None:
    try:
        header = image_header(raw, Path("s.lmdb"))
    except InputError as error:
        assert str(error).startswith("s.lmdb ") and raw != json.dumps(IMAGES).encode()
        return
    assert header["count"] >= 1 and isinstance(header["digest"], str)
    assert all(isinstance(name, str) for name in header["classes"])
    assert {"labels", "sizes", "byte_sizes", "crc32"} <= set(header["columns"]) <= set(IMAGES["columns"])
    if "image_ids" in header["columns"]:
        assert len(header["category_ids"]) == len(header["classes"])
        assert all(type(number) is int for number in header["category_ids"])
    assert header.get("ignore_index") is None or 0 <= header["ignore_index"] <= 255


@given(changed(MAPS))
@example(json.dumps(MAPS).encode())
@example(NESTED)
def test_a_header_of_heatmaps_is_refused_or_right(raw: bytes) -> None:
    try:
        header = read_header(raw, Path("c.lmdb"))
    except InputError as error:
        assert str(error).startswith("c.lmdb ") and raw != json.dumps(MAPS).encode()
        return
    assert type(header["count"]) is int and header["count"] >= 1
    assert all(isinstance(header[name], str) for name in ("images_digest", "method", "digest"))


@pytest.mark.parametrize(
    "raw",
    [
        NESTED,
        b"[1]",
        b"5",
        b"\xff",
        b'{"digest": 1}',
        b'{"digest": "1"}',
        b'{"digest": "1", "mean": [1, 2, 1%s]}' % (b"0" * 400),
        b'{"digest": "1", "mean": 5}',
    ],
)
def test_statistics_that_are_none_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "s.lmdb.stats.json"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"stats\.json"):
        load(tmp_path / "s.lmdb", "1")


def _store(path: Path, count: int = 50) -> Path:
    with StoreWriter(path, classes=["a"]) as writer:
        for i in range(count):
            writer.add(bytes([i]) * 9000, label=0, height=1, width=1, name=str(i))
    return path


def _lmdb(path: Path, database: bytes | None, key: bytes, value: bytes, **options: object) -> Path:
    environment = lmdb.open(str(path), subdir=False, lock=False, max_dbs=4, **options)  # type: ignore[arg-type]
    handle = environment.open_db(database)
    with environment.begin(write=True, db=handle) as transaction:
        transaction.put(key, value)
    environment.close()
    return path


@pytest.mark.parametrize("kept", [1, 100, 151, 4096, 4097, 8192, 0.3, 0.5, 0.99, -1])
def test_a_truncated_store_is_refused(tmp_path: Path, kept: float) -> None:
    """Wherever the file ends too early, opening raises; LMDB alone would be killed by SIGBUS."""
    whole = _store(tmp_path / "s.lmdb").read_bytes()
    size = len(whole) + kept if kept < 0 else int(kept * len(whole)) if kept < 1 else int(kept)
    (tmp_path / "t.lmdb").write_bytes(whole[: int(size)])
    with pytest.raises(InputError, match=r"t\.lmdb is (truncated|not an image store)"):
        ImageStore(tmp_path / "t.lmdb")


def test_a_longer_file_is_accepted(tmp_path: Path) -> None:
    """Bytes after the last page, as some copying tools leave them, do no harm."""
    with _store(tmp_path / "s.lmdb").open("ab") as file:
        file.write(b"\0" * 5000)
    assert len(ImageStore(tmp_path / "s.lmdb")) == 50


def test_what_is_no_lmdb_file(tmp_path: Path) -> None:
    """Missing files, folders, empty files, text and another LMDB version are told apart."""
    (tmp_path / "text").write_text("hello " * 1000)
    (tmp_path / "empty").write_bytes(b"")
    _lmdb(tmp_path / "new", b"images", b"k", b"v", lib_version=1)
    for name, reason in {
        "missing": "does not exist",
        ".": "is a folder",
        "text": "is no LMDB 0.9 file",
        "empty": "is no LMDB 0.9 file",
        "new": "is no LMDB 0.9 file",
    }.items():
        with pytest.raises(InputError, match=reason):
            ImageStore(tmp_path / name)


def test_what_is_no_image_store(tmp_path: Path) -> None:
    """Foreign LMDB files, other schema versions and broken headers are named."""
    header = {"format": "sdali image store", "schema": 2, "count": 1, "classes": [], "digest": "0", "columns": {}}
    for database, key, value, reason in [
        (None, b"cat", b"dog", "not an image store"),
        (None, b"header", b"{}", "not an image store"),
        (b"header", b"other", b"{}", "not an image store"),
        (b"header", b"header", b"not json", "no legible header"),
        (b"header", b"header", b"[]", "no legible header"),
        (b"header", b"header", json.dumps({**header, "format": "sdali heatmap store"}).encode(), "heatmap store"),
        (b"header", b"header", json.dumps({**header, "schema": 99}).encode(), "schema version 99"),
        (b"header", b"header", json.dumps(header).encode(), "no legible header"),
    ]:
        path = tmp_path / "foreign"
        path.unlink(missing_ok=True)
        _lmdb(path, database, key, value)
        with pytest.raises(InputError, match=reason):
            ImageStore(path)


def test_columns_must_fit_the_count(tmp_path: Path) -> None:
    """A header that counts other samples than the columns hold is refused."""
    path = _store(tmp_path / "s.lmdb")
    header = ImageStore(path).header
    _lmdb(path, b"header", b"header", json.dumps({**header, "count": 49}).encode())
    with pytest.raises(InputError, match="does not fit the samples that its header counts"):
        ImageStore(path)


def test_an_earlier_schema_is_refused_with_the_command_that_rebuilds_it(tmp_path: Path) -> None:
    """Of both kinds of stores; the sentence names the file."""
    images, maps = _store(tmp_path / "s.lmdb"), tmp_path / "c.lmdb"
    with HeatmapWriter(maps, count=1, images_digest="", method="") as writer:
        writer.put([0], np.ones((1, 2, 3), np.uint8))
        writer.finish()
    for path, opened, command in (
        (images, ImageStore, f"build it again with `sdali build SOURCE {images}`"),
        (maps, HeatmapStore, f"make it again with `sdali cams STORE {maps}`"),
    ):
        _lmdb(path, b"header", b"header", json.dumps({**opened(path).header, "schema": 1}).encode())
        with pytest.raises(InputError) as error:
            opened(path)
        assert str(error.value) == f"{path} has schema version 1, and this sdali reads version 2; {command}"


@pytest.mark.parametrize(("column", "index"), [("image_offsets", 0), ("image_offsets", 49), ("map_offsets", 0)])
@pytest.mark.parametrize("value", [-1, 2**62, None])
def test_offsets_are_checked(tmp_path: Path, column: str, index: int, value: int | None) -> None:
    """One that leads out of the file is refused, as is any that the checksum in the header does not cover."""
    path: Path = tmp_path / "s.lmdb"
    opened: Any = ImageStore
    if column == "map_offsets":
        opened = HeatmapStore
        with HeatmapWriter(path, count=1, images_digest="", method="") as writer:
            writer.put([0], np.ones((1, 2, 3), np.uint8))
            writer.finish()
    else:
        _store(path)
    header = opened(path).header
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=4) as environment, environment.begin() as reading:
        raw = reading.get(column.encode(), db=environment.open_db(b"index", txn=reading, create=False))
    assert raw is not None
    offsets = np.frombuffer(raw, np.int64).copy()
    offsets[index] = value if value is not None else offsets[index] + 1
    _lmdb(path, b"index", column.encode(), offsets.tobytes())
    with pytest.raises(InputError, match=r"the record offsets of .*s\.lmdb do not match their checksum"):
        opened(path)
    checksum = zlib.crc32(offsets.tobytes())
    _lmdb(path, b"header", b"header", json.dumps({**header, "offsets_crc32": checksum}).encode())
    if value is not None:
        with pytest.raises(InputError, match=rf"the column {column} of .*s\.lmdb leads out of the file"):
            opened(path)

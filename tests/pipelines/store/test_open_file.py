"""Files that are no stores: each gets a sentence before LMDB maps anything."""

from __future__ import annotations

import json
from pathlib import Path

import lmdb
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter


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
    header = {"format": "sdali image store", "schema": 1, "count": 1, "classes": [], "digest": "0", "columns": {}}
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
    with pytest.raises(InputError, match="does not fit its 49 samples"):
        ImageStore(path)

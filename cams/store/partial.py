"""The partial files of a heatmap store: where each rank writes its maps, and what a killed run leaves behind.

Rank r of n commits its maps to `PATH.r-of-n.partial`, an LMDB file that only this rank writes (flock). A run that finds
such files, of its own or of another number of ranks, keeps every map committed in them, provided they carry the same
binding: images, method, model and count. Every commit is on disk when it returns. The files are written by LMDB itself,
since they grow in any order and must survive a kill; the finished store is not. A record is 8 bytes of header (height,
width, checksum) and the bytes of the map.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zlib import crc32

import lmdb
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.publish import locked
from ...pipelines.store.format import HEADER, HEADER_KEY
from ...pipelines.store.heatmaps import LARGEST_SIDE, MAPS
from ...pipelines.store.lmdb_read import mapped_file

FORMAT, SCHEMA = "sdali partial heatmap store", 1
RECORD_HEADER = struct.Struct("<HHI")  # height, width, CRC32 of the map begun from both
_MAP_BYTES = 1 << 30  # of address space to begin with; doubled whenever it is full


def encode(heatmap: np.ndarray) -> bytes:
    """One uint8 map [h, w] as the bytes of a record; sides of 1 to 65,535 cells."""
    if (
        heatmap.dtype != np.uint8
        or heatmap.ndim != 2
        or not 0 < min(heatmap.shape) <= max(heatmap.shape) <= LARGEST_SIDE
    ):
        raise ValueError(f"a heatmap is uint8 [h, w], not {heatmap.dtype} {list(heatmap.shape)}")
    height, width = heatmap.shape
    body = heatmap.tobytes()
    return RECORD_HEADER.pack(height, width, crc32(body, height << 16 | width)) + body


def decode(record: bytes | memoryview) -> np.ndarray:
    """The read-only uint8 map [h, w] of one record; ValueError where its sizes or checksum disagree."""
    if len(record) < RECORD_HEADER.size:
        raise ValueError(f"is cut short at {len(record)} bytes")
    height, width, checksum = RECORD_HEADER.unpack_from(record)
    body = record[RECORD_HEADER.size :]
    if not 0 < height * width == len(body):
        raise ValueError(f"holds {len(body)} cells where its header says {height} x {width}")
    if crc32(body, height << 16 | width) != checksum:
        raise ValueError("fails its checksum")
    return np.frombuffer(body, np.uint8).reshape(height, width)


def shard_path(target: Path, rank: int, world_size: int) -> Path:
    """Where rank `rank` of `world_size` keeps its maps of the store `target` until all are there."""
    return target.with_name(f"{target.name}.{rank}-of-{world_size}.partial")


def shard_paths(target: Path, *, other_than: int | None = None) -> list[Path]:
    """Partial files of `target` that exist, of any number of ranks, or of any other than the one given."""
    pattern = re.compile(re.escape(target.name) + r"\.\d+-of-(\d+)\.partial")
    found = [(path, pattern.fullmatch(path.name)) for path in target.parent.iterdir()]
    return sorted(path for path, match in found if match and int(match[1]) != other_than)


class Shard:
    """A partial file, locked: read by rank 0, or `writable` by its own rank.

    One that is damaged or bound to something else has no maps to read, and is emptied to write.
    """

    def __init__(self, path: Path, binding: dict[str, Any], *, writable: bool = False) -> None:
        flags, operation = (os.O_RDWR | os.O_CREAT, fcntl.LOCK_EX) if writable else (os.O_RDONLY, fcntl.LOCK_SH)
        refusal = f"{path} is being written by another process; wait for it, or stop it"
        self._descriptor = locked(lambda: os.open(path, flags | os.O_NOFOLLOW, 0o644), path, operation, refusal)
        with ExitStack() as undo:
            undo.callback(os.close, self._descriptor)
            environment = _open_bound(path, binding, readonly=not writable)
            if environment is None and writable:
                os.ftruncate(self._descriptor, 0)
                environment = _open(path, readonly=False)
                environment.open_db(MAPS)  # first: whatever carries the binding is taken for whole, also after a kill
                _put(environment, environment.open_db(HEADER), [(HEADER_KEY, json.dumps(binding).encode())])
            self._environment: Any = environment
            self._maps = None if environment is None else environment.open_db(MAPS, create=False)
            undo.pop_all()

    def indices(self) -> np.ndarray:
        """int64 [n], ascending."""
        if self._environment is None:
            return np.zeros(0, np.int64)
        with self._environment.begin(self._maps) as transaction:
            return np.frombuffer(b"".join(transaction.cursor().iternext(values=False)), ">u8").astype(np.int64)

    def get(self, key: bytes) -> bytes:
        """The record of one of `indices()`."""
        with self._environment.begin(self._maps) as transaction:
            return transaction.get(key)

    def put(self, items: Sequence[tuple[bytes, bytes]]) -> None:
        """Commit (key, record) pairs, all or none."""
        _put(self._environment, self._maps, items)

    def close(self) -> None:
        """Unlock the file and leave it where it is; may be called twice."""
        if self._descriptor >= 0:
            if self._environment is not None:
                self._environment.close()
            os.close(self._descriptor)
            self._descriptor = -1


def _put(environment: lmdb.Environment, database: Any, items: Sequence[tuple[bytes, bytes]]) -> None:
    """Put pairs in one transaction, in a map that is doubled until they fit."""
    while True:
        try:
            with environment.begin(database, write=True) as transaction:
                for key, value in items:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _open(path: Path, *, readonly: bool) -> lmdb.Environment:
    return lmdb.open(
        str(path), subdir=False, lock=False, readonly=readonly, create=not readonly,
        map_size=_MAP_BYTES, max_dbs=2, lib_version=0,
    )  # fmt: skip


def _open_bound(path: Path, binding: dict[str, Any], *, readonly: bool) -> lmdb.Environment | None:
    """The environment of a partial file that is whole and carries this binding, else None."""
    try:
        mapped_file(path)  # checks it: LMDB itself would end the process with a signal
        environment = _open(path, readonly=readonly)
    except (InputError, lmdb.Error):
        return None
    try:
        with environment.begin() as transaction:
            header = transaction.get(HEADER_KEY, db=environment.open_db(HEADER, txn=transaction, create=False))
        if header is not None and json.loads(header) == binding:
            return environment
    except (lmdb.Error, ValueError):
        pass
    environment.close()
    return None

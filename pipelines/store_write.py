"""Writing an image store: records in commits of about 64 MB, then the columns, then the header, then the new name.

Committing in chunks bounds the memory; the pending chunk is kept until its commit succeeded, because LMDB's full map
(MapFullError) loses the transaction: the map is doubled and the chunk replayed. Nothing is synced before the end, so
no half-written file can be mistaken for a store: it still has its partial name and no header.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import lmdb
import numpy as np

from . import store_format
from .errors import InputError
from .store_format import BOXES, HEADER, HEADER_KEY, IMAGES, INDEX, MASKS
from .store_publish import PartialFile

CHUNK_BYTES = 64 << 20
MAP_BYTES = 1 << 30  # to begin with; doubled whenever it is full

_ARRAY_CODES = {"<i8": "q", "<i4": "i", "<u4": "I", "|u1": "B"}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # LMDB reports a short write on a full disk as EIO


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn whatever LMDB or the system says about writing into one InputError that names `path` and the reason."""
    try:
        yield
    except lmdb.Error as error:
        raise InputError(f"cannot write {path}: {_reason(str(error))}") from error
    except OSError as error:
        raise InputError(f"cannot write {path}: {_reason(error.strerror or str(error))}") from error


def _reason(text: str) -> str:
    full = any(os.strerror(number).lower() in text.lower() for number in _FULL)
    return text + (": the disk is full, it seems; free space on it, or choose another folder" if full else "")


class StoreWriter:
    """Context manager that builds one store; a clean exit publishes it, an exception removes every trace of it.

    `path`: the store to be. `classes`: class names, () for a store without labels. `provenance`: JSON-able, kept in the
    header, no part of the digest. Raises InputError for a target that exists (unless `overwrite`) or is being built,
    for a full disk, and for a sample that contradicts the store's declaration.
    `finish` and `publish` may also be called one by one, to look at the complete file under its `partial` name first.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Sequence[str],
        overwrite: bool = False,
        has_masks: bool = False,
        has_boxes: bool = False,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.classes = Path(path), tuple(classes)
        self.has_masks, self.has_boxes = has_masks, has_boxes
        self._provenance = dict(provenance or {})
        dtypes = store_format.columns_of(has_masks=has_masks, has_boxes=has_boxes)
        self._dtypes = dtypes
        self._columns = {name: array(_ARRAY_CODES[dtype]) for name, dtype in dtypes.items()}
        self._columns["name_offsets"].append(0)
        self._pending: list[tuple[bytes, bytes, bytes]] = []  # database, key, value
        self._pending_bytes = self._record_bytes = 0
        with write_errors(self.path):
            self._file = PartialFile(self.path, overwrite=overwrite)
        try:
            self._open()
        except BaseException:
            self._file.discard()
            raise

    def _open(self) -> None:
        names = [IMAGES, INDEX, HEADER] + [MASKS] * self.has_masks + [BOXES] * self.has_boxes
        self._map_bytes = MAP_BYTES
        with write_errors(self.path):
            self._environment: lmdb.Environment | None = lmdb.open(
                str(self.partial), subdir=False, lock=False, sync=False, map_size=MAP_BYTES, max_dbs=8, lib_version=0
            )
            self._databases = {name: self._environment.open_db(name) for name in names}

    def __len__(self) -> int:
        return len(self._columns["labels"])

    @property
    def partial(self) -> Path:
        """Where the file lies until it is published."""
        return self._file.path

    def add(
        self,
        data: bytes,
        *,
        label: int,
        height: int,
        width: int,
        name: str,
        mask: bytes | None = None,
        boxes: tuple[np.ndarray, np.ndarray] | None = None,
        crc32: int | None = None,
    ) -> None:
        """Append one sample; its index is the number of samples before it.

        `data`: encoded image; `height`, `width`: after EXIF orientation; `label`: class, -1 for none; `name`: relative
        path of the source with '/'; `mask`: single-channel PNG; `boxes`: (float32 [K, 4] xyxy pixels, int64 [K] class);
        `crc32`: of `data`, where the caller has it already.
        """
        self._check(data, label, height, width, name, mask, boxes)
        columns, index = self._columns, store_format.key(len(self))
        encoded_name = name.encode("utf-8", "surrogateescape")
        columns["labels"].append(label)
        columns["sizes"].extend((height, width))
        columns["byte_sizes"].append(len(data))
        columns["crc32"].append(zlib.crc32(data) if crc32 is None else crc32)
        columns["names"].frombytes(encoded_name)
        columns["name_offsets"].append(len(columns["names"]))
        self._put(IMAGES, index, data)
        if self.has_masks:
            self._add_mask(index, mask)
        if self.has_boxes:
            self._add_boxes(index, boxes)
        if self._pending_bytes >= CHUNK_BYTES:
            self._commit()

    def _check(self, data: bytes, label: int, height: int, width: int, name: str, mask: Any, boxes: Any) -> None:
        wrong = (
            "has no bytes" if not data
            else f"has label {label}, outside the {len(self.classes)} classes" if not -1 <= label < len(self.classes)
            else f"has the size {height} x {width}" if min(height, width) < 1
            else "has a mask, but the store was declared without" if mask is not None and not self.has_masks
            else "has boxes, but the store was declared without" if boxes is not None and not self.has_boxes
            else "has boxes that are not K x 4 with K classes" if boxes is not None and not _are_boxes(*boxes)
            else None
        )  # fmt: skip
        if wrong:
            raise InputError(f"{name} {wrong}; correct the source of {self.path}")

    def _add_mask(self, index: bytes, mask: bytes | None) -> None:
        self._columns["mask_byte_sizes"].append(len(mask or b""))
        self._columns["mask_crc32"].append(zlib.crc32(mask or b""))
        if mask:
            self._put(MASKS, index, mask)

    def _add_boxes(self, index: bytes, boxes: tuple[np.ndarray, np.ndarray] | None) -> None:
        record = b"" if boxes is None else store_format.encode_boxes(*boxes)
        self._columns["box_counts"].append(-1 if boxes is None else len(record) // store_format.BYTES_A_BOX)
        self._columns["box_crc32"].append(zlib.crc32(record))
        if record:
            self._put(BOXES, index, record)

    def _put(self, database: bytes, key: bytes, value: bytes) -> None:
        self._pending.append((database, key, value))
        self._pending_bytes += len(value)

    def _commit(self) -> None:
        """Write the pending records in one transaction, in a map that is doubled until they fit."""
        assert self._environment is not None
        with write_errors(self.path):
            while True:
                try:
                    with self._environment.begin(write=True) as transaction:
                        for database, key, value in self._pending:
                            # An out-of-order append would return False, silently.
                            if not transaction.put(key, value, append=True, db=self._databases[database]):
                                raise AssertionError(f"{database!r} already holds a key after {key!r}")
                    break
                except lmdb.MapFullError:
                    self._map_bytes *= 2
                    self._environment.set_mapsize(self._map_bytes)
        self._record_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0

    def finish(self) -> str:
        """Write columns and header and flush everything to disk, under the partial name; returns the digest."""
        if not len(self):
            raise InputError(f"no image for {self.path}; name a source that has some")
        if self._pending:
            self._commit()
        columns = {name: self._columns[name] for name in sorted(self._columns)}
        header = self._header(store_format.digest(columns, self.classes))
        for name, column in columns.items():
            self._put(INDEX, name.encode(), column.tobytes())
        self._commit()
        self._put(HEADER, HEADER_KEY, json.dumps(header).encode())
        self._commit()
        with write_errors(self.path):
            assert self._environment is not None
            self._environment.sync(True)
            self._close()
        return header["digest"]

    def _header(self, digest: str) -> dict[str, Any]:
        return {
            "format": store_format.FORMAT,
            "schema": store_format.SCHEMA,
            "count": len(self),
            "classes": list(self.classes),
            "digest": digest,
            "columns": self._dtypes,
            "record_bytes": self._record_bytes,
            "provenance": self._provenance,
        }

    def publish(self) -> None:
        """Give the finished file its name, replacing a store that `overwrite` allowed to replace."""
        with write_errors(self.path):
            self._file.publish()

    def discard(self) -> None:
        """Remove the partial file; does nothing to a published store."""
        self._close()
        self._file.discard()

    def _close(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.finish()
                self.publish()
        finally:
            self.discard()


def _are_boxes(boxes: np.ndarray, classes: np.ndarray) -> bool:
    return np.ndim(boxes) == 2 and np.shape(boxes) == (len(classes), 4)

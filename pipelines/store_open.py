"""Opening LMDB files that may be damaged, and sharing one environment a file and process.

A truncated LMDB is not an exception but SIGBUS, so its two meta pages are read with plain file reads and the file's
size is checked before LMDB maps anything. LMDB allows one environment a file and process, so all readers of a file
share one here. Whatever a reader hands out (record views, columns) holds a reference to that environment: the map goes
away with the last view, never under one.

A forked child goes on with the environment it inherited. LMDB forbids that for its lock table and reader slots, of
which a read-only environment without locks has none: what is left is a map and a few private structures, and both are
the child's own after a fork. Opening anew is no way out: py-lmdb 3.0 takes the file for open in the child too, and
closing the inherited environment first would unmap the views (tried: SIGSEGV).
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import threading
import weakref
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from .errors import InputError
from .lmdb_pages import MAGIC, VERSION

_META = struct.Struct("<II")  # magic, version: at byte 16 of a meta page
_META_BYTES = 152
_MAX_DATABASES = 16


def _meta_page(head: bytes) -> tuple[int, int, int] | None:
    """(transaction id, last page, page size) of one meta page (mdb.c: MDB_meta, 64-bit), None where it is not one."""
    if len(head) < _META_BYTES or _META.unpack_from(head, 16) != (MAGIC, VERSION):
        return None
    (page_size,) = struct.unpack_from("<I", head, 40)
    last_page, transaction = struct.unpack_from("<QQ", head, 136)
    return transaction, last_page, page_size


def check_lmdb_file(path: Path, kind: str = "an image store") -> None:
    """Raise InputError unless `path` is a whole LMDB file of format 0.9; touches no page through a map."""
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path} is not {kind}: it is no regular file")
            first = _meta_page(file.read(_META_BYTES))
            second = None
            if first is not None:
                file.seek(first[2])
                second = _meta_page(file.read(_META_BYTES))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; build it, or correct the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not {kind}; build one from it, or name the .lmdb file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if first is None:
        raise InputError(f"{path} is not {kind}: it is no LMDB 0.9 file")
    _, last_page, page_size = max(first, second or first)
    if second is None or status.st_size < (last_page + 1) * page_size:
        raise InputError(f"{path} is truncated ({status.st_size:,} bytes); copy it again, or build it again")


class _Record(np.ndarray):
    """Bytes in the map; `owner` keeps the map from being unmapped while a view of them lives."""

    owner: SharedEnvironment


class SharedEnvironment:
    """One read-only LMDB environment with one long-lived read transaction; get it from `shared_environment`.

    Attributes: `file`, uint8, the whole file, for lmdb_read; `lock`.
    """

    def __init__(self, path: Path) -> None:
        with open(path, "rb") as opened:
            mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            larger_than_memory = len(mapped) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
            if larger_than_memory:
                mapped.madvise(mmap.MADV_RANDOM)
            self.file = np.frombuffer(mapped, np.uint8)
            self._open(path, readahead=not larger_than_memory)
            if not os.path.samestat(os.fstat(opened.fileno()), path.stat()):
                raise InputError(f"{path} was replaced by another file while it was opened; open it again")

    def _open(self, path: Path, *, readahead: bool) -> None:
        self._environment = lmdb.open(
            str(path), subdir=False, readonly=True, lock=False, max_dbs=_MAX_DATABASES, readahead=readahead
        )
        self._databases: dict[bytes, Any] = {}
        self._transaction = self._environment.begin(buffers=True)
        self.lock = threading.Lock()

    def database(self, name: bytes) -> Any | None:
        """Handle of a named sub-database, or None where the file has none of that name."""
        with self.lock:
            if name not in self._databases:
                try:
                    handle = self._environment.open_db(name, txn=self._transaction, create=False)
                except (lmdb.NotFoundError, lmdb.IncompatibleError):  # the second: a plain key of that name
                    return None
                self._databases[name] = handle
            return self._databases[name]

    def get(self, key: bytes, database: Any) -> memoryview | None:
        """Zero-copy view of a record, None where there is none; the view keeps the map alive.

        A `database` of None is the main one, whose records describe the others.
        """
        with self.lock:
            found = self._transaction.get(key, db=database)
        if found is None:
            return None
        record = np.frombuffer(found, np.uint8).view(_Record)
        record.owner = self
        return memoryview(record)  # pyright: ignore[reportArgumentType]: an array is a buffer


_environments: weakref.WeakValueDictionary[tuple[int, int], SharedEnvironment] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _after_fork() -> None:
    """New locks for the child: a thread that held one in the parent does not exist here and would never release it."""
    global _opening
    _opening = threading.Lock()
    for environment in list(_environments.values()):
        environment.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def shared_environment(path: Path, kind: str = "an image store") -> SharedEnvironment:
    """This process's environment of a checked file; opened at the first call, closed when nothing refers to it.

    Raises InputError for a file that is missing, foreign, truncated or unreadable.
    """
    check_lmdb_file(path, kind)
    with _opening:
        status = path.stat()
        identity = status.st_dev, status.st_ino
        environment = _environments.get(identity)
        if environment is None:
            try:
                environment = SharedEnvironment(path)
            except lmdb.Error as error:
                raise InputError(f"cannot open {path}: {error}") from None
            _environments[identity] = environment
        return environment

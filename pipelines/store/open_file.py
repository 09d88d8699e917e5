"""Opening store files that may be damaged or a stranger's, and sharing one map a file and process.

LMDB trusts the pages it reads: one flipped bit may end the process with a signal. So stores are read without it, by
lmdb_lookup and lmdb_read, which check what they follow; LMDB only writes. What is left is a file that is cut while it
is open: touching a page behind its end is SIGBUS, as with any map; a store that is replaced by renaming, as sdali does
it, is none of that. Before anything is mapped, the two meta pages are read and the file's size is checked.

Whatever a reader hands out (record views, columns) holds a reference to the map: it goes away with the last view, never
under one. A map may be used after a fork, and by several threads.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from ..errors import InputError
from ..io.input_files import open_input
from .lmdb_lookup import lookup, named
from .lmdb_pages import DATABASE, MAGIC, VERSION

_META = struct.Struct("<II")  # magic, version: at byte 16 of a meta page
_META_BYTES = 152
_MAIN = 88  # where the main database's record begins
_PAGE_BYTES = {1 << power for power in range(9, 17)}  # what LMDB makes files of


class _Meta(NamedTuple):
    """One meta page (mdb.c: MDB_meta, 64-bit); the one of the higher transaction counts."""

    transaction: int
    last_page: int
    page_bytes: int
    main: bytes


def _meta_page(head: bytes) -> _Meta | None:
    """None where it is not one."""
    if len(head) < _META_BYTES or _META.unpack_from(head, 16) != (MAGIC, VERSION):
        return None
    (page_bytes,) = struct.unpack_from("<I", head, 40)
    last_page, transaction = struct.unpack_from("<QQ", head, 136)
    return _Meta(transaction, last_page, page_bytes, head[_MAIN : _MAIN + DATABASE.size])


def check_lmdb_file(path: Path, kind: str = "an image store") -> None:
    """Raise InputError unless `path` is a whole LMDB file of format 0.9; maps nothing."""
    with _opened(path, kind) as file:
        _newest_meta(file, path, kind)


@contextmanager
def _opened(path: Path, kind: str) -> Iterator[IO[bytes]]:
    try:
        with open_input(path) as file:
            yield file
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; build it, or correct the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not {kind}; build one from it, or name the .lmdb file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _newest_meta(file: IO[bytes], path: Path, kind: str) -> _Meta:
    """Raises InputError unless both meta pages are there, and all the pages that the newer one counts."""
    first, second = _meta_page(file.read(_META_BYTES)), None
    if first is None or first.page_bytes not in _PAGE_BYTES:
        raise InputError(f"{path} is not {kind}: it is no LMDB 0.9 file")
    file.seek(first.page_bytes)
    second = _meta_page(file.read(_META_BYTES))
    size = os.fstat(file.fileno()).st_size
    newest = max(first, second or first)
    if second is None or size < (newest.last_page + 1) * first.page_bytes:
        raise InputError(f"{path} is truncated ({size:,} bytes); copy it again, or build it again")
    return newest._replace(page_bytes=first.page_bytes)


class SharedFile:
    """One checked store file in memory, read-only; get it from `shared_file`.

    Attributes: `file`, uint8, the whole file, for lmdb_read; `view`, the same for slices that keep the map alive.
    """

    def __init__(self, file: IO[bytes], meta: _Meta) -> None:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            mapped.madvise(mmap.MADV_RANDOM)
        self.view, self._meta = memoryview(mapped), meta
        self.file = np.frombuffer(mapped, np.uint8)

    def database(self, name: bytes) -> bytes | None:
        """The record that describes a named database, or None where the file has none of that name."""
        return named(self.view, self._meta.page_bytes, self._meta.main, name)

    def get(self, key: bytes, database: bytes | None) -> memoryview | None:
        """Zero-copy view of a record, None where there is none; the view keeps the map alive."""
        return None if database is None else lookup(self.view, self._meta.page_bytes, database, key)


_files: weakref.WeakValueDictionary[tuple[int, ...], SharedFile] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def _after_fork() -> None:
    """A new lock for the child: a thread that held it in the parent does not exist here and would never release it."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def shared_file(path: Path, kind: str = "an image store") -> SharedFile:
    """This process's map of a checked file; made at the first call, gone when nothing refers to it.

    Raises InputError for a file that is missing, foreign, truncated or unreadable.
    """
    with _opened(path, kind) as file, _opening:
        meta, status = _newest_meta(file, path, kind), os.fstat(file.fileno())
        identity = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        shared = _files.get(identity)
        if shared is None:
            shared = _files[identity] = SharedFile(file, meta)
        return shared

"""Reading LMDB 0.9 files without LMDB: the mapped file, and single records found by their key.

LMDB trusts the pages that it reads: one flipped bit may end the process with a signal. Here every access is a slice of
a memoryview, so whatever a damaged file holds, a key is found or not found. Whether a record is the one that was
written, its checksum says. Only headers and columns are looked up by key; the columns say where the records lie.

The size of a file is checked before it is mapped, since touching a page behind the end of the file is SIGBUS. What is
left is a file that is cut while it is open; a store that is replaced by renaming, as sdali does it, is safe.

Whatever a reader hands out (views of records, columns) holds a reference to the map, which goes away with the last of
them. A map may be used after a fork, and by several threads.
"""

from __future__ import annotations

import mmap
import os
import struct
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import InputError
from ..io.input_files import open_input
from .format import HEADER as HEADER_DATABASE
from .format import HEADER_KEY
from .lmdb_pages import DATABASE, HEADER, IS_DATABASE, LEAF, MAGIC, NODE, ON_BIG_PAGES, VERSION

_META = struct.Struct("<II")  # magic, version: at byte 16 of a meta page
_META_BYTES = 152
_MAIN = 88  # where the main database's record begins
_PAGE_BYTES = {1 << power for power in range(9, 17)}  # what LMDB makes files of
_OFFSET, _PAGE_NUMBER = struct.Struct("<H"), struct.Struct("<Q")
_DEEPEST_TREE = 32  # mdb.c: CURSOR_STACK
_DAMAGE = (struct.error, IndexError, OverflowError)  # what following a wrong number ends in


class _Meta(NamedTuple):
    """One meta page (mdb.c: MDB_meta, 64-bit); the one of the higher transaction counts."""

    transaction: int
    last_page: int
    page_bytes: int
    root: int


def _meta_page(head: bytes) -> _Meta | None:
    """The meta page that begins with these bytes, or None where it is none."""
    if len(head) < _META_BYTES or _META.unpack_from(head, 16) != (MAGIC, VERSION):
        return None
    (page_bytes,) = struct.unpack_from("<I", head, 40)
    last_page, transaction = struct.unpack_from("<QQ", head, 136)
    return _Meta(transaction, last_page, page_bytes, DATABASE.unpack_from(head, _MAIN)[-1])


def _newest_meta(file: IO[bytes], path: Path, kind: str) -> _Meta:
    """Raises InputError unless both meta pages are there, and all the pages that the newer one counts."""
    first, second = _meta_page(file.read(_META_BYTES)), None
    if first is None or first.page_bytes not in _PAGE_BYTES:
        raise InputError(f"{path} is not {kind}: it is no LMDB 0.9 file; name a store that sdali has built")
    file.seek(first.page_bytes)
    second = _meta_page(file.read(_META_BYTES))
    size = os.fstat(file.fileno()).st_size
    newest = max(first, second or first)
    if second is None or size < (newest.last_page + 1) * first.page_bytes:
        raise InputError(f"{path} is truncated ({size:,} bytes); copy it again, or build it again")
    return newest._replace(page_bytes=first.page_bytes)


class MappedFile:
    """One checked LMDB file in memory, read-only; `mapped_file` opens it.

    Attributes: `view`, the whole file; slices of it are the records, and keep the map alive.
    """

    def __init__(self, path: Path, file: IO[bytes], meta: _Meta) -> None:
        self._path, self._stamp = path, _stamp(os.fstat(file.fileno()))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
            mapped.madvise(mmap.MADV_RANDOM)
        self.view, self._meta = memoryview(mapped), meta
        self._header = self._header_now()

    def check_unchanged(self) -> None:
        """Raise InputError where another store was written over the file since it was opened.

        Replacing it, as every command here does, leaves the open one as it was. A few damaged bytes leave its header.
        """
        with suppress(OSError):
            now = _stamp(os.stat(self._path))
            if now[0] == self._stamp[0] and now != self._stamp and self._header_now() != self._header:
                raise InputError(
                    f"{self._path} was written over while it was in use; start again, and replace stores by mv, "
                    "not by cp"
                )

    def _header_now(self) -> bytes:
        return bytes(self.get(HEADER_DATABASE, HEADER_KEY) or b"")

    def get(self, database: bytes, key: bytes) -> memoryview | None:
        """The value of `key` in the database of that name; None where there is none, or the way to it is damaged."""
        try:
            found = self._find(self._meta.root, database)
            if found is None or found[0] != IS_DATABASE or len(found[1]) != DATABASE.size:
                return None
            found = self._find(DATABASE.unpack(found[1])[-1], key)
        except _DAMAGE:
            return None
        return None if found is None else found[1]

    def _find(self, page: int, key: bytes) -> tuple[int, memoryview] | None:
        """Flags and value of the leaf node with that key, in the tree below the page of that number."""
        view, page_bytes = self.view, self._meta.page_bytes
        for _ in range(_DEEPEST_TREE):
            start = page * page_bytes
            _, kind, low, _ = HEADER.unpack_from(view, start)
            if low > page_bytes:
                return None
            offsets = _OFFSET.iter_unpack(view[start + HEADER.size : start + low])
            nodes = [start + offset for (offset,) in offsets]
            heads = [NODE.unpack_from(view, node) for node in nodes]  # size or page, flags or page, bytes of the key
            keys = [bytes(view[node + NODE.size :][: head[2]]) for node, head in zip(nodes, heads, strict=True)]
            if kind == LEAF:
                if key not in keys:
                    return None
                number = keys.index(key)
                return self._value(nodes[number] + NODE.size + len(key), *heads[number][:2])
            # The first key of a branch page is empty, and stands for all keys before the second.
            low_half, high_half, _ = heads[bisect_right(keys, key, lo=1) - 1]
            page = low_half | high_half << 32
        return None

    def _value(self, begin: int, size: int, flags: int) -> tuple[int, memoryview] | None:
        if flags & ON_BIG_PAGES:
            begin = _PAGE_NUMBER.unpack_from(self.view, begin)[0] * self._meta.page_bytes + HEADER.size
        value = self.view[begin : begin + size]
        return (flags, value) if len(value) == size else None


def _stamp(status: os.stat_result) -> tuple[tuple[int, int], int, int]:
    """Which file it is, and what changes when it is written to."""
    return (status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns


def mapped_file(path: Path, kind: str = "an image store") -> MappedFile:
    """The file in memory, after its check; raises InputError for one that is missing, foreign, truncated or unreadable.

    kind: what the file should be, for the message.
    """
    try:
        with open_input(path) as file:
            return MappedFile(path, file, _newest_meta(file, path, kind))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; build it, or correct the path") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not {kind}; build one from it, or name the .lmdb file") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None

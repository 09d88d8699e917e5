"""Writing an LMDB 0.9 file from its leaves to its root, in one pass and in the order of the bytes.

Why the writer is ours, when the file is LMDB's: a store is written once, with keys in ascending order. LMDB must be
ready for any order and for readers at any time, so it copies each page on its way and again at each commit, and it does
not say where in the file a record lies. Here a page is written when it is full and never touched again, and `offsets`
says where each record begins, which is what stores are read by. Any LMDB tool reads the file (py-lmdb, `mdb_stat`,
`mdb_dump`): the pages are those that LMDB's own appending makes, and the same for equal content.

What waits in memory is one leaf page for each database, one (key, page) for each leaf page, and 8 bytes for each
record. The disk is kept busy on the way, so that little is left to wait for at the end. The meta pages are written last
of all, when the rest is on disk: an unfinished file begins with zeros, and nobody takes it for an LMDB file.
"""

from __future__ import annotations

import ctypes
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence

from ..errors import InputError
from . import lmdb_pages as pages
from .lmdb_pages import PAGE_BYTES

_WAITING_BYTES, _WAITING_BUFFERS = 1 << 18, 1000  # of a write; the system takes 1,024 buffers at once
_AHEAD_BYTES = 4 << 20  # written to memory before the disk is told to begin on them
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE: begin, do not wait


class LmdbFile:
    """Named databases in one new file, which the caller opens before and closes afterwards.

    `put` takes each database's keys in ascending order, the databases in any order between them. Raises OSError as the
    system does, InputError for a value of 4 GiB or more.
    """

    def __init__(self, descriptor: int, names: Iterable[bytes]) -> None:
        self._out = _Pages(descriptor)
        self._trees = {name: _Tree(self._out) for name in sorted(names)}  # the keys of the main database, ascending

    def put(self, name: bytes, key: bytes, value: bytes) -> None:
        """Append one record to the database `name`; bytes must stay as they are until `finish`."""
        self._trees[name].add(key, value)

    def offsets(self, name: bytes) -> array[int]:
        """Where in the file the value of each record of a database begins, int64 in the order of the keys.

        Closes the database: nothing can be put there afterwards.
        """
        self._trees[name].finish()
        return self._trees[name].offsets

    def finish(self) -> None:
        """Write all that waits and make the file durable, then write the meta pages and make them durable."""
        main = _Tree(self._out)
        for name, tree in self._trees.items():
            main.add(name, tree.finish(), pages.IS_DATABASE)
        self._out.finish(main.finish())


class _Tree:
    """One database: a B+tree that grows from left to right."""

    def __init__(self, out: _Pages) -> None:
        self._out = out
        self._nodes: list[bytes] = []
        self._first = self._last = b""  # keys: of the leaf page that is being filled, of all
        self._room = pages.ROOM
        self._leaves: list[tuple[bytes, int]] = []  # first key and number of each leaf page
        self._big_pages = 0
        self._record: bytes | None = None  # which describes the finished tree
        self.offsets = array("q")
        self._inside: list[int] = []  # the records whose offsets still count from the leaf page that is being filled
        self._end = PAGE_BYTES  # of the room in that page, whose nodes fill it from its end

    def add(self, key: bytes, value: bytes, flags: int = 0) -> None:
        size = len(value)
        assert self._record is None, "the database is closed"
        assert self._last < key or not self.offsets, f"{key!r} does not come after {self._last!r}"
        assert 0 < len(key) <= pages.LONGEST_KEY
        big_page = 0
        if pages.NODE.size + len(key) + size > pages.LARGEST_NODE:
            big_page = self._write_big(value)
            value, flags = big_page.to_bytes(8, "little"), pages.ON_BIG_PAGES
        node = pages.leaf_node(key, value, size, flags)
        if len(node) + 2 > self._room:  # 2 bytes for its place in the page's table of nodes
            self._write_leaf()
        if not self._nodes:
            self._first = key
        self._nodes.append(node)
        self._room -= len(node) + 2
        self._end -= len(node)
        if big_page:
            self.offsets.append(big_page * PAGE_BYTES + pages.BIG_HEADER.size)
        else:
            # Within the page for now: the page gets its number when it is written, after big values that come before.
            self._inside.append(len(self.offsets))
            self.offsets.append(self._end + pages.NODE.size + len(key))
        self._last = key

    def _write_big(self, value: bytes) -> int:
        """Write a value onto overflow pages; returns the number of the first."""
        if len(value) > pages.LONGEST_VALUE:
            raise InputError(f"a record has {len(value):,} bytes, and LMDB holds less than 4 GiB; divide the source")
        count = pages.big_pages(len(value))
        head = pages.BIG_HEADER.pack(self._out.next_page, pages.BIG, count)
        padding = bytes(count * PAGE_BYTES - len(head) - len(value))
        self._big_pages += count  # part of the record of the tree; mdb_stat and LMDB's freeing of pages go by it
        return self._out.append(count, (head, value, padding))

    def _write_leaf(self) -> None:
        page = pages.node_page(self._out.next_page, pages.LEAF, self._nodes)
        number = self._out.append(1, (page,))
        self._leaves.append((self._first, number))
        for record in self._inside:
            self.offsets[record] += number * PAGE_BYTES
        self._nodes, self._inside, self._room, self._end = [], [], pages.ROOM, PAGE_BYTES

    def finish(self) -> bytes:
        """Write the last leaf page and the branch pages, level by level; returns the record that describes the tree."""
        if self._record is not None:  # `offsets` has closed it; a second root would be a page that nothing points to
            return self._record
        if self._nodes:
            self._write_leaf()
        level, branches, depth = self._leaves, 0, min(len(self._leaves), 1)
        while len(level) > 1:
            level = [self._write_branch(children) for children in _branches(level)]
            branches, depth = branches + len(level), depth + 1
        root = level[0][1] if level else pages.NO_PAGE
        entries = len(self.offsets)
        self._record = pages.DATABASE.pack(0, depth, branches, len(self._leaves), self._big_pages, entries, root)
        return self._record

    def _write_branch(self, children: Sequence[tuple[bytes, int]]) -> tuple[bytes, int]:
        # LMDB takes the first child for all keys below the second's, and reads no key there; its own pages have none.
        nodes = [pages.branch_node(key if number else b"", page) for number, (key, page) in enumerate(children)]
        page = pages.node_page(self._out.next_page, pages.BRANCH, nodes)
        return children[0][0], self._out.append(1, (page,))


def _branches(level: Sequence[tuple[bytes, int]]) -> Iterator[Sequence[tuple[bytes, int]]]:
    """Divides the pages of a level among branch pages: full ones, but none with a single child, which LMDB forbids."""
    start, room = 0, pages.ROOM
    for child, (key, page) in enumerate(level):
        if child > start and len(pages.branch_node(key, page)) + 2 > room:
            # The last child would be alone on the next page, so this page gives it one of its own as company.
            stop = child - 1 if child == len(level) - 1 else child
            yield level[start:stop]
            start, room = stop, pages.ROOM
        room -= len(pages.branch_node(key if child > start else b"", page)) + 2
    yield level[start:]


class _Pages:
    """Numbers the pages after the meta pages, and writes them in that order, many at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = self._begun = 2 * PAGE_BYTES
        self.next_page = 2
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    def append(self, count: int, buffers: Sequence[bytes]) -> int:
        """Take `count` whole pages; returns the number of the first."""
        page = self.next_page
        self.next_page += count
        self._waiting.extend(buffers)
        self._waiting_bytes += count * PAGE_BYTES
        if self._waiting_bytes >= _WAITING_BYTES or len(self._waiting) >= _WAITING_BUFFERS:
            self._write()
        return page

    def finish(self, main: bytes) -> None:
        """Write what waits, then the meta pages, each made durable."""
        self._write()
        # Before the meta pages are written at all: the disk may write in any order, and after a loss of power valid
        # meta pages would stand before data that never came.
        os.fsync(self._descriptor)
        _write_all(self._descriptor, [pages.meta_pages(self.next_page - 1, main)], 0)
        os.fsync(self._descriptor)

    def _write(self) -> None:
        self._offset = _write_all(self._descriptor, self._waiting, self._offset)
        self._waiting, self._waiting_bytes = [], 0
        if self._offset - self._begun >= _AHEAD_BYTES:
            # Otherwise the kernel lets gigabytes gather, and the fsync at the end takes as long as all the writing did.
            _begin_sync(self._descriptor, self._begun, self._offset - self._begun)
            self._begun = self._offset


def _write_all(descriptor: int, buffers: Sequence[bytes], offset: int) -> int:
    """Write the buffers at `offset`, however little the system takes at once; returns where they end."""
    begin, end = offset, offset + sum(map(len, buffers))
    while offset < end:
        # A full disk or a signal may cut a write anywhere. Joining copies all bytes, so it is left to what a first
        # write did not take, which is rare.
        rest = buffers if offset == begin else [memoryview(b"".join(buffers))[offset - begin :]]
        offset += os.pwritev(descriptor, rest, offset)
    return end


def _begin_sync(descriptor: int, offset: int, count: int) -> None:
    """Let the disk begin on a part of the file; no more than a hint, so errors are left to fsync."""
    ctypes.CDLL(None).sync_file_range(descriptor, ctypes.c_int64(offset), ctypes.c_int64(count), _BEGIN)

"""Where many records of LMDB 0.9 databases lie in their files, found in one compiled loop.

For databases of 8-byte big-endian keys that are dense, as those of a store are: the place of a key in a page is guessed
from the keys a child holds and mostly right at once, where LMDB's own search halves the page and misses the cache at
each step. Any other distribution of keys is found too, only later. Every number that comes from the file is checked
before it is followed, so a damaged file gives "not found".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core.cgutils import voidptr_t
from numba.extending import intrinsic

from ..io.numba_cache import CACHE
from . import lmdb_pages

_HIGHEST_TREE = 32  # mdb.c: CURSOR_STACK
_BRANCH, _LEAF, _HEADER = lmdb_pages.BRANCH, lmdb_pages.LEAF, lmdb_pages.HEADER.size
_BIG, _NODE, _KEY = lmdb_pages.ON_BIG_PAGES, lmdb_pages.NODE.size, 8


def find(file: np.ndarray, database: bytes | memoryview, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each record begins and how many bytes it has, int64 [N] each; -1 and 0 where there is none.

    file: uint8, the whole file; database: the database's record in the main one, empty where there is none; indices:
    int64 [N], the keys.
    """
    begins, sizes = np.full(len(indices), -1), np.zeros(len(indices), np.int64)
    page_bytes, root = _tree(file, database)
    if root >= 0:
        _find(file, page_bytes, root, np.ascontiguousarray(indices), begins, sizes)
    return begins, sizes


def _tree(file: np.ndarray, database: bytes | memoryview) -> tuple[int, int]:
    """Bytes of a page, and the number of the root page; -1 where the database is empty or its root not in the file."""
    page_bytes = int(file[40:44].view("<u4")[0])
    root = lmdb_pages.DATABASE.unpack(database)[-1] if database else lmdb_pages.NO_PAGE
    return page_bytes, root if 2 <= root < len(file) // page_bytes else -1


class Searched:
    """Several files, one database of each, as `find` takes them; a batch over all of them is one compiled call."""

    def __init__(self, files: Sequence[np.ndarray], databases: Sequence[bytes | memoryview]) -> None:
        trees = [_tree(file, database) for file, database in zip(files, databases, strict=True)]
        rows = [(file.ctypes.data, len(file), *tree) for file, tree in zip(files, trees, strict=True)]
        self._files = files  # keeps them where the table says they are
        self._table = np.array(rows, np.int64)

    def find(self, places: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Begin and bytes as `find` gives them, of the keys `indices` in the files `places`, int64 [N] each."""
        order = np.argsort(places, kind="stable")  # the keys of one file behind each other
        found, sizes = np.full(len(indices), -1), np.zeros(len(indices), np.int64)
        _find_in_files(self._table, places[order], indices[order], found, sizes)
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return found[back], sizes[back]


@numba.njit("int64(Array(uint8, 1, 'C', True), int64, int64)", cache=CACHE)
def _number(file, at, count):  # pragma: no cover
    """A little-endian number of `count` bytes."""
    value = np.int64(0)
    for place in range(count):
        value |= np.int64(file[at + place]) << (8 * place)
    return value


@numba.njit("int64(Array(uint8, 1, 'C', True), int64)", cache=CACHE)
def _key(file, at):  # pragma: no cover
    """A big-endian number of 8 bytes."""
    value = np.int64(0)
    for place in range(8):
        value = value << 8 | np.int64(file[at + place])
    return value


@numba.njit("int64(Array(uint8, 1, 'C', True), int64, int64, int64)", cache=CACHE)
def _node(file, page, page_bytes, place):  # pragma: no cover
    """Where the node of that place begins, -1 where it would not lie within the page with a key of 8 bytes."""
    within = _number(file, page + _HEADER + 2 * place, 2)
    if within < _HEADER or within + _NODE + _KEY > page_bytes or _number(file, page + within + 6, 2) != _KEY:
        return -1
    return page + within


@numba.njit("int64(Array(uint8, 1, 'C', True), int64, int64, int64, int64, int64, int64)", cache=CACHE)
def _search(file, page, page_bytes, first, count, key, guess):  # pragma: no cover
    """The place of the last node in [first, count) whose key is at most `key`, first - 1 where none is; -2: damage."""
    place = min(max(guess, first), count - 1)
    while place >= first:
        node = _node(file, page, page_bytes, place)
        if node < 0:
            return -2
        found = _key(file, node + _NODE)
        if found == key:
            return place
        if found < key:
            break
        place -= 1
    while place + 1 < count:
        node = _node(file, page, page_bytes, place + 1)
        if node < 0:
            return -2
        if _key(file, node + _NODE) > key:
            break
        place += 1
    return place


@numba.njit("UniTuple(int64, 2)(Array(uint8, 1, 'C', True), int64, int64, int64)", cache=CACHE)
def _value(file, node, page, page_bytes):  # pragma: no cover
    """Begin and bytes of a leaf node's value; -1 and 0 where it would not lie in its page or the file."""
    begin, size, end = node + _NODE + _KEY, _number(file, node, 4), page + page_bytes
    if _number(file, node + 4, 2) & _BIG:
        if begin + 8 > end:
            return -1, 0
        number, end = _number(file, begin, 8), np.int64(file.size)
        if number < 2 or number >= end // page_bytes:
            return -1, 0
        begin = number * page_bytes + _HEADER
    return (begin, size) if begin + size <= end else (-1, 0)


@numba.njit(
    "int64(Array(uint8, 1, 'C', True), int64, int64[::1], int64[::1], Array(int64, 1, 'C', True), int64[::1], float64)",
    cache=CACHE,
)
def _touch(file, page_bytes, numbers, bases, keys, rows, step):  # pragma: no cover
    """Reads what the searches will begin with, one thing for all rows after the other: they then wait for memory once,
    not each in turn. Returns a meaningless sum.
    """
    total, last_place = 0, page_bytes // 2 - _HEADER
    for row in rows:
        total += file[numbers[row] * page_bytes + 12]
    for turn in range(2):
        for row in rows:
            page = numbers[row] * page_bytes
            place = min(max(np.int64((keys[row] - bases[row]) / step), 0), last_place)
            within = _number(file, page + _HEADER + 2 * place, 2)
            total += within if turn == 0 else file[page + min(within, page_bytes - 1)]
    return total


@numba.njit("float64(Array(uint8, 1, 'C', True), int64, int64)", cache=CACHE)
def _step(file, page, page_bytes):  # pragma: no cover
    """How many keys a child of this page holds, by its second and third; 1 for leaf pages."""
    if file[page + 10] != _BRANCH or _number(file, page + 12, 2) < _HEADER + 6:
        return 1.0
    low, high = _node(file, page, page_bytes, 1), _node(file, page, page_bytes, 2)
    return 1.0 if low < 0 or high < 0 else max(np.float64(_key(file, high + _NODE) - _key(file, low + _NODE)), 1.0)


@numba.njit(
    "int64(Array(uint8, 1, 'C', True), int64, int64, Array(int64, 1, 'C', True), int64[::1], int64[::1])", cache=CACHE
)
def _find(file, page_bytes, root, keys, begins, sizes):  # pragma: no cover
    """Level by level for all keys; returns a meaningless sum, so that no compiler leaves `_touch` out."""
    rows = np.arange(keys.size)
    numbers, bases = np.full(keys.size, root), np.zeros(keys.size, np.int64)  # page, its first key
    last_page, left, touched = file.size // page_bytes - 1, keys.size, 0
    for _ in range(_HIGHEST_TREE):
        if left == 0:
            break
        step, going = _step(file, numbers[rows[0]] * page_bytes, page_bytes), 0
        touched += _touch(file, page_bytes, numbers, bases, keys, rows[:left], step)
        for row in rows[:left]:
            key, base, page = keys[row], bases[row], numbers[row] * page_bytes
            kind, count = file[page + 10], (_number(file, page + 12, 2) - _HEADER) // 2
            if count < 1 or _HEADER + 2 * count > page_bytes:
                continue
            if kind == _BRANCH:
                place = _search(file, page, page_bytes, 1, count, key, np.int64((key - base) / step))
                within = _number(file, page + _HEADER + 2 * max(place, 0), 2)
                if place < 0 or within > page_bytes - _NODE:
                    continue
                numbers[row] = _number(file, page + within, 6)
                if not 2 <= numbers[row] <= last_page:
                    continue
                if place > 0:  # the first node has no key: its child begins where this page does
                    bases[row] = _key(file, page + within + _NODE)
                rows[going] = row
                going += 1
            elif kind == _LEAF:
                place = _search(file, page, page_bytes, 0, count, key, key - base)
                node = _node(file, page, page_bytes, place) if place >= 0 else -1
                if node >= 0 and _key(file, node + _NODE) == key:
                    begins[row], sizes[row] = _value(file, node, page, page_bytes)
        left = going
    return touched


@intrinsic
def _pointer(_: Any, address: Any) -> Any:  # pragma: no cover
    """A number as the address that it is."""

    def generated(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], voidptr_t)

    return numba.types.voidptr(address), generated


@numba.njit("int64(int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1])", cache=CACHE)
def _find_in_files(table, places, keys, begins, sizes):  # pragma: no cover
    """`_find` for each run of keys of one file; table: address, bytes, bytes of a page and root page of each file."""
    touched, start = np.int64(0), 0
    while start < places.size:
        place, stop = places[start], start + 1
        while stop < places.size and places[stop] == place:
            stop += 1
        address, size, page_bytes, root = table[place]
        if root >= 0:
            file = numba.carray(_pointer(address), (size,), np.uint8)  # pyright: ignore[reportCallIssue]
            touched += _find(file, page_bytes, root, keys[start:stop], begins[start:stop], sizes[start:stop])
        start = stop
    return touched

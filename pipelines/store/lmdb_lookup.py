"""One record of an LMDB 0.9 file, found without LMDB, which trusts its pages: a wrong one there ends in a signal.

Every number that comes from the file is checked before it is followed, so whatever a file holds, a key is found or not
found, in bounded time and within the file. That a record is the one that was written is for its checksum to say. For
records by the batch see lmdb_read.
"""

from __future__ import annotations

import struct

from .lmdb_pages import BIG, BRANCH, DATABASE, HEADER, IS_DATABASE, LEAF, NO_PAGE, NODE, ON_BIG_PAGES

_HIGHEST_TREE = 32  # mdb.c: CURSOR_STACK
_KIND = struct.Struct("<10xHH")  # of a page's header: kind, end of the offsets
_OFFSET, _LONG = struct.Struct("<H"), struct.Struct("<Q")
_BEGIN, _NODE_BYTES = HEADER.size, NODE.size


def lookup(file: memoryview, page_bytes: int, database: bytes, key: bytes) -> memoryview | None:
    """The value of `key`, a view of `file`; None where there is none, or where the way to it is damaged.

    database: the record that describes it, see `named`; the main one's lies in a meta page.
    """
    found = _leaf(file, page_bytes, database, key)
    if found is None:
        return None
    size, flags, begin, end = found
    if flags & ~ON_BIG_PAGES:
        return None
    if flags & ON_BIG_PAGES:
        if begin + _LONG.size > end:
            return None
        (number,) = _LONG.unpack_from(file, begin)
        if not 2 <= number < len(file) // page_bytes or _KIND.unpack_from(file, number * page_bytes)[0] != BIG:
            return None
        begin, end = number * page_bytes + _BEGIN, len(file)
    return file[begin : begin + size] if begin + size <= end else None


def named(file: memoryview, page_bytes: int, main: bytes, name: bytes) -> bytes | None:
    """The record of the database of that name, None where there is none whose keys are sorted as bytes."""
    found = _leaf(file, page_bytes, main, name)
    if found is None:
        return None
    size, flags, begin, end = found
    if flags != IS_DATABASE or size != DATABASE.size or begin + size > end:
        return None
    record = bytes(file[begin : begin + size])
    return None if _OFFSET.unpack_from(record, 4)[0] else record


def _leaf(file: memoryview, page_bytes: int, database: bytes, key: bytes) -> tuple[int, int, int, int] | None:
    """Of the leaf node with that key: bytes of the value, flags, where the value begins, where the page ends."""
    number, last = DATABASE.unpack(database)[-1], len(file) // page_bytes - 1
    if number == NO_PAGE:
        return None
    for _ in range(_HIGHEST_TREE):
        if not 2 <= number <= last:
            return None
        page = number * page_bytes
        kind, low = _KIND.unpack_from(file, page)
        count = (low - _BEGIN) // 2
        if count < 1 or low > page_bytes or kind not in (BRANCH, LEAF):
            return None
        place = _place(file, page, page_bytes, count, key)
        node = -1 if place is None else _node(file, page, page_bytes, place)
        if node < 0:
            return None
        size, flags, key_bytes = NODE.unpack_from(file, node)
        if kind == LEAF:
            begin = node + _NODE_BYTES + key_bytes
            return (size, flags, begin, page + page_bytes) if file[begin - key_bytes : begin] == key else None
        number = size | flags << 32
    return None


def _place(file: memoryview, page: int, page_bytes: int, count: int, key: bytes) -> int | None:
    """The place of the last node whose key is at most `key`, 0 where none is: the first of a branch page has no key."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high + 1) // 2
        node = _node(file, page, page_bytes, middle)
        if node < 0:
            return None
        begin = node + _NODE_BYTES
        if bytes(file[begin : begin + NODE.unpack_from(file, node)[2]]) <= key:
            low = middle
        else:
            high = middle - 1
    return low


def _node(file: memoryview, page: int, page_bytes: int, place: int) -> int:
    """Where the node of that place begins, -1 where it would not lie within the page, with its key."""
    (within,) = _OFFSET.unpack_from(file, page + _BEGIN + 2 * place)
    if within < _BEGIN or within + _NODE_BYTES > page_bytes:
        return -1
    key_bytes = NODE.unpack_from(file, page + within)[2]
    return page + within if within + _NODE_BYTES + key_bytes <= page_bytes else -1

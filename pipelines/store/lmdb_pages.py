"""The pages of an LMDB 0.9 file as bytes: leaf, branch, overflow and meta pages (mdb.c, 64-bit, little-endian).

A leaf or branch page is 16 bytes of header, one 2-byte offset a node in key order, a gap, and the nodes, the first of
which lies at the page's end. A value too large for half a page lies on contiguous overflow pages, of which only the
first has a header; its node holds that page's number. A branch node leads to the page whose keys begin with its own;
the first one of a branch page needs no key. Two meta pages begin the file: the one of the higher transaction counts.

Pages have 4,096 bytes on every machine: LMDB takes the size of a file's pages from the file, so files stay the same.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import accumulate

PAGE_BYTES = 4096
HEADER = struct.Struct("<Q2xHHH")  # page number, kind, end of the offsets, begin of the nodes
BIG_HEADER = struct.Struct("<Q2xHI")  # page number, kind, pages
NODE = struct.Struct("<IHH")  # leaf: bytes of the value, flags, bytes of the key; branch: page number in 6 bytes
DATABASE = struct.Struct("<I2xHQQQQQ")  # page size, depth, branch, leaf and overflow pages, entries, root page
META = struct.Struct("<II8xQ")  # magic, version, bytes to map
META_END = struct.Struct("<QQ")  # last page, transaction

BRANCH, LEAF, BIG, META_PAGE = 1, 2, 4, 8
ON_BIG_PAGES, IS_DATABASE = 1, 2  # flags of a leaf node
NO_PAGE = (1 << 64) - 1
ROOM = PAGE_BYTES - HEADER.size
LARGEST_NODE = (ROOM // 2 & -2) - 2  # two nodes fit into any page
LONGEST_KEY, LONGEST_VALUE = 511, (1 << 32) - 1

MAGIC, VERSION = 0xBEEFC0DE, 1  # the version of LMDB 0.9's files
_INTEGER_KEYS = 8  # of the list of free pages, always


def leaf_node(key: bytes, value: bytes, size: int, flags: int) -> bytes:
    """A node of a leaf page, padded to an even length; `size` is that of the value, wherever it lies."""
    node = NODE.pack(size, flags, len(key)) + key + value
    return node + b"\0" if len(node) & 1 else node


def branch_node(key: bytes, page: int) -> bytes:
    """A node of a branch page, padded to an even length."""
    node = NODE.pack(page & 0xFFFFFFFF, page >> 32, len(key)) + key
    return node + b"\0" if len(node) & 1 else node


def node_page(page: int, kind: int, nodes: Sequence[bytes]) -> bytes:
    """A leaf or branch page of nodes in key order."""
    offsets = [PAGE_BYTES - used for used in accumulate(map(len, nodes))]
    low = HEADER.size + 2 * len(nodes)
    head = HEADER.pack(page, kind, low, offsets[-1]) + struct.pack(f"<{len(nodes)}H", *offsets)
    return head + bytes(offsets[-1] - low) + b"".join(reversed(nodes))


def big_pages(size: int) -> int:
    """How many overflow pages a value of `size` bytes takes."""
    return (BIG_HEADER.size - 1 + size) // PAGE_BYTES + 1


def meta_pages(last_page: int, main: bytes) -> bytes:
    """Both meta pages of a file whose main database is `main`: as after its first transaction."""
    empty = DATABASE.pack(0, 0, 0, 0, 0, 0, NO_PAGE)
    return _meta_page(0, 1, empty, last_page) + _meta_page(1, last_page, main, last_page)


def _meta_page(page: int, last_page: int, main: bytes, mapped: int) -> bytes:
    free = bytearray(DATABASE.pack(PAGE_BYTES, 0, 0, 0, 0, 0, NO_PAGE))
    struct.pack_into("<H", free, 4, _INTEGER_KEYS)
    head = HEADER.pack(page, META_PAGE, 0, 0) + META.pack(MAGIC, VERSION, (mapped + 1) * PAGE_BYTES)
    content = head + free + main + META_END.pack(last_page, page)
    return content.ljust(PAGE_BYTES, b"\0")

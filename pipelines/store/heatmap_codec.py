"""What lies in a heatmap store, and how one heatmap becomes the bytes of one record.

A heatmap is a uint8 map [h, w] over the whole oriented image: cell (i, j) covers rows i*H/h to (i+1)*H/h and the
columns alike. Values are relative to the map's own maximum, which is 255; an all-zero map says "nothing found here",
and the loader then draws a plain window. A record is 8 bytes of header and h * w raw bytes: maps are 50 to 1,000 bytes,
too small for compression to pay; decoding one costs about a microsecond.

The store is one LMDB file (format 0.9), immutable once published: sub-database `maps`, 8-byte big-endian index ->
record, and sub-database `header`, one JSON document written in the last transaction of all.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import NamedTuple
from zlib import crc32

import numba
import numpy as np

from ..io.numba_cache import CACHE

FORMAT, SCHEMA = "sdali heatmap store", 1
MAPS, HEADER, HEADER_KEY = b"maps", b"header", b"header"

LARGEST_SIDE = (1 << 16) - 1  # cells
RECORD_HEADER = struct.Struct("<HHI")  # height, width, CRC32 of the map begun from both


class Cells(NamedTuple):
    """The maps of a batch, one after another."""

    values: np.ndarray
    """uint8 [cells of all maps], row by row."""

    shapes: np.ndarray
    """int64 [N, 2]: height and width of each map."""


def quantise(maps: np.ndarray) -> np.ndarray:
    """Scale each map to its own maximum: `round(255 * max(m, 0) / max(m))`, all zero where nothing is positive.

    Args:
        maps: float [..., h, w], any scale, finite.

    Returns:
        uint8 [..., h, w].
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    peak = positive.max(axis=(-2, -1), keepdims=True)
    return np.rint(255 * (positive / np.where(peak > 0, peak, 1))).astype(np.uint8)


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
    return RECORD_HEADER.pack(height, width, _checksum(height, width, body)) + body


def decode(record: bytes | memoryview) -> np.ndarray:
    """The read-only uint8 map [h, w] of one record, whose memory it shares; ValueError where sizes or checksum
    disagree.
    """
    if len(record) < RECORD_HEADER.size:
        raise ValueError(f"is cut short at {len(record)} bytes")
    height, width, checksum = RECORD_HEADER.unpack_from(record)
    if height * width == 0:
        raise ValueError(f"claims {height} x {width} cells")
    if len(record) != RECORD_HEADER.size + height * width:
        raise ValueError(f"holds {len(record) - RECORD_HEADER.size} cells where its header says {height} x {width}")
    if _checksum(height, width, record[RECORD_HEADER.size :]) != checksum:
        raise ValueError("fails its checksum")
    return np.frombuffer(record, np.uint8, offset=RECORD_HEADER.size).reshape(height, width)


def decode_batch(file: np.ndarray, begins: np.ndarray, sizes: np.ndarray) -> Cells:
    """The maps of N records, copied, at a fraction of the cost of N `decode`; ValueError where one is damaged.

    file: uint8, holds the records; begins, sizes: int64 [N], where each begins (-1: there is none) and its bytes.
    """
    values = np.empty(np.maximum(sizes - RECORD_HEADER.size, 0).sum(), np.uint8)
    shapes = np.empty((len(sizes), 2), np.int64)
    if not _decode_batch(file, begins, sizes, _crc32_tables(), values, shapes):
        raise ValueError("a record is damaged")
    return Cells(values, shapes)


@cache
def _crc32_tables() -> np.ndarray:
    """uint32 [8, 256]: what byte k before the end of a word of 8 adds to its CRC32 ("slicing by 8", Kounavis 2005)."""
    tables = np.zeros((8, 256), np.uint32)
    tables[0] = np.arange(256)
    for _ in range(8):
        tables[0] = np.where(tables[0] & 1, tables[0] >> 1 ^ 0xEDB88320, tables[0] >> 1)
    for k in range(1, 8):
        tables[k] = tables[k - 1] >> 8 ^ tables[0][tables[k - 1] & 255]
    return tables


@numba.njit(
    "bool_(Array(uint8, 1, 'C', True), int64[::1], int64[::1], uint32[:, ::1], uint8[::1], int64[:, ::1])", cache=CACHE
)
def _decode_batch(file, begins, sizes, tables, values, shapes):  # pragma: no cover
    """Whether all records are sound; then `values` and `shapes` are filled."""
    filled = 0
    for row in range(begins.size):
        begin, cells = begins[row], sizes[row] - 8
        if begin < 0 or cells < 1:
            return False
        height = np.int64(file[begin]) | np.int64(file[begin + 1]) << 8
        width = np.int64(file[begin + 2]) | np.int64(file[begin + 3]) << 8
        if height * width != cells:
            return False
        checksum = np.uint32(0)
        for k in range(4):
            checksum |= np.uint32(file[begin + 4 + k]) << np.uint32(8 * k)
        state, place = ~np.uint32(height << 16 | width), begin + 8
        stop = place + cells
        while place + 8 <= stop:
            state = (
                tables[7, (state ^ file[place]) & 255]
                ^ tables[6, (state >> 8 ^ file[place + 1]) & 255]
                ^ tables[5, (state >> 16 ^ file[place + 2]) & 255]
                ^ tables[4, (state >> 24 ^ file[place + 3]) & 255]
                ^ tables[3, file[place + 4]]
                ^ tables[2, file[place + 5]]
                ^ tables[1, file[place + 6]]
                ^ tables[0, file[place + 7]]
            )
            place += 8
        while place < stop:
            state = tables[0, (state ^ file[place]) & 255] ^ np.uint32(state >> 8)
            place += 1
        if np.uint32(~state) != checksum:
            return False
        values[filled : filled + cells] = file[begin + 8 : stop]
        shapes[row, 0], shapes[row, 1] = height, width
        filled += cells
    return True


def _checksum(height: int, width: int, body: bytes | memoryview) -> int:
    return crc32(body, height << 16 | width)

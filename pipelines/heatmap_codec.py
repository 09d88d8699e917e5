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
from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

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
    if len(record) != RECORD_HEADER.size + height * width:
        raise ValueError(f"holds {len(record) - RECORD_HEADER.size} cells where its header says {height} x {width}")
    if _checksum(height, width, record[RECORD_HEADER.size :]) != checksum:
        raise ValueError("fails its checksum")
    return np.frombuffer(record, np.uint8, offset=RECORD_HEADER.size).reshape(height, width)


def decode_batch(records: Sequence[bytes | memoryview]) -> Cells:
    """The maps of many records, copied, at a fraction of the cost of many `decode`; ValueError as there."""
    header, unpack, shapes, bodies = RECORD_HEADER.size, RECORD_HEADER.unpack_from, [], []
    for record in records:
        body = record[header:]
        height, width, checksum = unpack(record) if len(record) >= header else (0, 0, 0)
        if len(body) != height * width or crc32(body, height << 16 | width) != checksum or not body:
            decode(record)  # says what is wrong
        shapes.append((height, width))
        bodies.append(body)
    return Cells(np.frombuffer(b"".join(bodies), np.uint8), np.array(shapes, np.int64).reshape(-1, 2))


def _checksum(height: int, width: int, body: bytes | memoryview) -> int:
    return crc32(body, height << 16 | width)

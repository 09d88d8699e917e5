"""What lies in an image store: one LMDB file (format 0.9), immutable once published, nothing in it pickled.

Sub-databases, all integers little-endian except the keys:
- `images`: 8-byte big-endian index -> encoded bytes (JPEG, PNG, ...), as they came or as transcoded at build.
- `masks` (only with masks): the same key -> single-channel uint8 PNG of class indices, of the image's oriented size.
- `boxes` (only with boxes): the same key -> K x 4 float32 (xyxy, see boxes), then K x 2 int32 (class, 1: difficult).
  In the first stores, without the flags, these were K int64 classes: the same bytes with all flags 0.
- `index`: one value a column, the raw bytes of its array, so that opening needs no loop over samples (COLUMNS below).
- `header`: one JSON document under HEADER_KEY. The file's meta pages are written after all of it: without them it is
  unfinished, and no LMDB file to anyone.

Where the classes are those of the masks' pixels, the header has an `ignore_index`: masks hold 0..K-1, places in the
classes, and this value where a pixel has no class; labels are all -1. In other stores the classes are the images'.

The digest is the store's identity: SHA-256 over classes, columns and ignore index. The columns hold the CRC32 and size
of every record, so two stores of equal digest hold equal content, whenever and from wherever they were built.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .boxes import Boxes

FORMAT = "sdali image store"
SCHEMA = 1
HEADER_KEY = b"header"
IMAGES, MASKS, BOXES, INDEX, HEADER = b"images", b"masks", b"boxes", b"index", b"header"

COLUMNS = {
    "labels": "<i8",  # [N] class, -1: none
    "sizes": "<i4",  # [N, 2] height, width after EXIF orientation
    "byte_sizes": "<i8",  # [N] of the encoded image
    "crc32": "<u4",  # [N] of the encoded image
    "name_offsets": "<i8",  # [N + 1] into names
    "names": "|u1",  # UTF-8 (surrogateescape), concatenated
}
MASK_COLUMNS = {"mask_byte_sizes": "<i8", "mask_crc32": "<u4"}  # [N]; size 0: no mask
BOX_COLUMNS = {"box_counts": "<i8", "box_crc32": "<u4"}  # [N]; count -1: not annotated
BYTES_A_BOX = 4 * 4 + 2 * 4


def columns_of(*, has_masks: bool, has_boxes: bool) -> dict[str, str]:
    """Names and dtypes of the columns that such a store has."""
    return {**COLUMNS, **(MASK_COLUMNS if has_masks else {}), **(BOX_COLUMNS if has_boxes else {})}


def column_bytes(name: str, dtype: str, count: int) -> int | None:
    """Bytes that a column of `count` samples takes; None for `names`, whose length is its content's."""
    items = {"sizes": 2 * count, "name_offsets": count + 1}.get(name, count)
    return None if name == "names" else items * np.dtype(dtype).itemsize


def key(index: int) -> bytes:
    """Big-endian, so that LMDB's byte order is the index order."""
    return struct.pack(">Q", index)


def digest(columns: Mapping[str, Any], classes: Sequence[str], ignore_index: int | None = None) -> str:
    """SHA-256 (hex) over classes, columns' raw bytes, each after its name and length, and the ignore index if any."""
    state = hashlib.sha256(json.dumps(list(classes)).encode())
    for name in sorted(columns):
        raw = memoryview(columns[name]).cast("B")
        state.update(f"{name}:{raw.nbytes}:".encode())
        state.update(raw)
    if ignore_index is not None:
        state.update(f"ignore_index:{ignore_index}".encode())
    return state.hexdigest()


def encode_boxes(boxes: Boxes) -> bytes:
    """The boxes of one image as one record."""
    flags = np.stack([boxes.labels, boxes.difficult], 1)
    return np.ascontiguousarray(boxes.xyxy, "<f4").tobytes() + flags.astype("<i4").tobytes()


def decode_boxes(record: memoryview | bytes, count: int) -> Boxes:
    """The inverse of encode_boxes: fresh arrays float32, int64 and bool."""
    xyxy = np.frombuffer(record, "<f4", 4 * count).reshape(count, 4)
    flags = np.frombuffer(record, "<i4", 2 * count, offset=16 * count).reshape(count, 2)
    return Boxes(xyxy.astype(np.float32), flags[:, 0].astype(np.int64), flags[:, 1] != 0)

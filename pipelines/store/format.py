"""What lies in an image store: one LMDB file (format 0.9), immutable once published, nothing in it pickled.

Databases, all integers little-endian except the keys:
- `images`: 8-byte big-endian index -> encoded bytes (JPEG, PNG, ...), as they came or as transcoded at build.
- `masks` (only with masks): the same key -> single-channel uint8 PNG of class indices, of the image's oriented size.
- `boxes` (only with boxes): the same key -> K x 4 float32 (xyxy, see boxes), then K x 2 int32 (class, 1: difficult).
- `index`: one value for each column, the raw bytes of its array (COLUMNS below, and the offsets).
- `header`: one JSON document under HEADER_KEY. The file's meta pages are written after all of it: without them the file
  is unfinished, and nobody takes it for an LMDB file.

Where the classes are those of the masks' pixels, the header has an `ignore_index`: masks hold 0 to K - 1, the indices
of the classes, and this value where a pixel has no class; labels are all -1. In other stores the classes are those of
the images.

Where the source numbers its images and classes (COCO), the header has `category_ids`, the number of each class, and
`image_ids` and `source_sizes` are columns; `box_areas` is one where the source knows the outlines of its objects.
Stores without them are read all the same: what a column would say is then not known.

The digest is the store's identity: SHA-256 over classes, columns, ignore index and category ids. The columns hold the
CRC32 and size of every record, so two stores of equal digest hold equal content, whenever and from wherever they were
built.
Offsets say where in the file each record begins, so that a record is a slice of the mapped file. They depend on how the
file is laid out and are therefore no part of the digest; a CRC32 of them is in the header. A tool that moves the
records, such as `mdb_copy -c`, makes them wrong, which the CRC32 of the first record read reports.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .boxes import Boxes

FORMAT = "sdali image store"
SCHEMA = 2
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
SOURCE_COLUMNS = {  # with category_ids
    "image_ids": "<i8",  # [N] the image's number in the source
    "source_sizes": "<i4",  # [N, 2] height, width in the source, after EXIF orientation, before it was shrunk
}
AREA_COLUMNS = {"box_areas": "<f8"}  # [M], px² of the outlines of all images' objects, in pixels of the store
BYTES_A_BOX = 4 * 4 + 2 * 4
RECORDS = {"image": IMAGES, "mask": MASKS, "box": BOXES}  # "image_offsets": int64 [N], 0 where there is no record


def columns_of(*, has_masks: bool, has_boxes: bool, has_ids: bool = False, has_areas: bool = False) -> dict[str, str]:
    """Names and dtypes of the columns that the digest of such a store covers."""
    optional = (MASK_COLUMNS, has_masks), (BOX_COLUMNS, has_boxes), (SOURCE_COLUMNS, has_ids), (AREA_COLUMNS, has_areas)
    return COLUMNS | {name: dtype for columns, present in optional if present for name, dtype in columns.items()}


def column_bytes(name: str, dtype: str, count: int) -> int | None:
    """Bytes of a column of `count` samples; None where its length depends on its content."""
    items = {"sizes": 2 * count, "source_sizes": 2 * count, "name_offsets": count + 1}.get(name, count)
    return None if name in ("names", "box_areas") else items * np.dtype(dtype).itemsize


def record_bytes(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the names in RECORDS, the bytes of each sample's record, int64 [N], 0 where there is none."""
    sizes = {"image": columns["byte_sizes"]}
    if "mask_byte_sizes" in columns:
        sizes["mask"] = columns["mask_byte_sizes"]
    if "box_counts" in columns:
        sizes["box"] = np.maximum(columns["box_counts"], 0) * BYTES_A_BOX
    return sizes


def key(index: int) -> bytes:
    """Big-endian, so that LMDB's byte order is the index order."""
    return struct.pack(">Q", index)


def digest(
    columns: Mapping[str, Any],
    classes: Sequence[str],
    ignore_index: int | None = None,
    category_ids: Sequence[int] | None = None,
) -> str:
    """SHA-256 (hex) over classes, columns' raw bytes, each after its name and length, and what else there is."""
    state = hashlib.sha256(json.dumps(list(classes)).encode())
    for name in sorted(columns):
        raw = memoryview(columns[name]).cast("B")
        state.update(f"{name}:{raw.nbytes}:".encode())
        state.update(raw)
    if ignore_index is not None:
        state.update(f"ignore_index:{ignore_index}".encode())
    if category_ids is not None:
        state.update(f"category_ids:{json.dumps(list(category_ids))}".encode())
    return state.hexdigest()


def digest_of(columns: Mapping[str, Any], header: Mapping[str, Any]) -> str:
    """The digest of a store that has this header and these columns."""
    return digest(columns, header["classes"], header.get("ignore_index"), header.get("category_ids"))


def offsets_crc32(offsets: Mapping[str, Any]) -> int:
    """CRC32 over the columns of offsets, in the order of their names."""
    checksum = 0
    for name in sorted(offsets):
        checksum = zlib.crc32(offsets[name], checksum)
    return checksum


def encode_boxes(boxes: Boxes) -> bytes:
    """The boxes of one image as one record."""
    flags = np.stack([boxes.labels, boxes.difficult], 1)
    return np.ascontiguousarray(boxes.xyxy, "<f4").tobytes() + flags.astype("<i4").tobytes()


def relabelled_boxes(record: memoryview | bytes, labels: np.ndarray) -> bytes:
    """The record with class `labels[k]` in place of class k; labels int64 [K]."""
    count = len(record) // BYTES_A_BOX
    changed = bytearray(record)
    flags = np.frombuffer(changed, "<i4", 2 * count, offset=16 * count).reshape(count, 2)
    # A class that cannot be becomes another, which the CRC32 shows.
    flags[:, 0] = labels.take(flags[:, 0], mode="clip")
    return bytes(changed)


def decode_boxes(record: memoryview | bytes, count: int) -> Boxes:
    """The inverse of encode_boxes: fresh arrays float32, int64 and bool."""
    xyxy = np.frombuffer(record, "<f4", 4 * count).reshape(count, 4)
    flags = np.frombuffer(record, "<i4", 2 * count, offset=16 * count).reshape(count, 2)
    return Boxes(xyxy.astype(np.float32), flags[:, 0].astype(np.int64), flags[:, 1] != 0)

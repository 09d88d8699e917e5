"""The header and the columns of an open store file: checked against each other, then viewed without a loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from . import format as store_format
from .format import HEADER, HEADER_KEY, INDEX
from .open_file import SharedFile


def read_header(file: SharedFile, path: Path) -> dict[str, Any]:
    """The header of an image store; raises InputError for any other LMDB file and for another schema version."""
    database = file.database(HEADER)
    raw = file.get(HEADER_KEY, database)
    if raw is None:
        raise InputError(f"{path} is an LMDB file but not an image store; name one made by sdali build")
    return checked_header(bytes(raw), path)


def checked_header(raw: bytes, path: Path) -> dict[str, Any]:
    """The header of the store `path` from its JSON; raises InputError where it is none of this schema."""
    try:
        header = json.loads(raw)
        kind, schema = header["format"], header["schema"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} has no legible header; build it again") from None
    if kind != store_format.FORMAT:
        raise InputError(f"{path} is not an image store but a {kind}; name an image store")
    if schema != store_format.SCHEMA:
        raise InputError(f"{path} has schema version {schema}, this sdali reads {store_format.SCHEMA}; build it again")
    if not _is_complete(header):
        raise InputError(f"{path} has no legible header; build it again")
    return header


def _is_complete(header: dict[str, Any]) -> bool:
    columns, classes = header.get("columns"), header.get("classes")
    if not isinstance(columns, dict) or not isinstance(classes, list):
        return False
    expected = store_format.columns_of(has_masks="mask_crc32" in columns, has_boxes="box_crc32" in columns)
    ignore_index = header.get("ignore_index")
    if ignore_index is not None and not (isinstance(ignore_index, int) and 0 <= ignore_index <= 255):
        return False
    counted = isinstance(header.get("count"), int) and header["count"] > 0
    named = all(isinstance(name, str) for name in classes)
    return columns == expected and counted and named and isinstance(header.get("digest"), str)


def read_columns(file: SharedFile, path: Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every column as a flat read-only array over the map, all of them those of the digest.

    Raises InputError where one does not fit the count, the digest, the classes or the file.
    """
    database, count = file.database(INDEX), header["count"]
    columns: dict[str, np.ndarray] = {}
    for name, dtype in header["columns"].items():
        raw = file.get(name.encode(), database)
        expected = store_format.column_bytes(name, dtype, count)
        if raw is None or (expected is not None and raw.nbytes != expected):
            raise InputError(f"the column {name} of {path} does not fit its {count} samples; build it again")
        columns[name] = _array(raw, dtype)
    check_columns(columns, path, header, file.file.size)
    return columns


def check_columns(columns: dict[str, np.ndarray], path: Path, header: dict[str, Any], record_bytes: int) -> None:
    """Raise InputError unless the columns are those of the header's digest, and of values that can be.

    record_bytes: more than any record can have.
    """
    count = header["count"]
    if store_format.digest(columns, header["classes"], header.get("ignore_index")) != header["digest"]:
        raise InputError(f"the columns of {path} do not match its digest; build it again")
    for name, (low, high) in _limits(len(header["classes"]), record_bytes).items():
        if name in columns and not low <= columns[name].min() <= columns[name].max() <= high:
            raise InputError(f"the column {name} of {path} has values that cannot be; build it again")
    offsets = columns["name_offsets"]
    if offsets[0] != 0 or offsets[-1] != len(columns["names"]) or (offsets[1:] < offsets[:-1]).any():
        raise InputError(f"the column names of {path} does not fit its {count} samples; build it again")


def _limits(classes: int, record_bytes: int) -> dict[str, tuple[int, int]]:
    """Lowest and highest value of columns that a stranger may have made up."""
    return {
        "labels": (-1, classes - 1),
        "sizes": (1, np.iinfo(np.int32).max),
        "byte_sizes": (1, record_bytes),
        "mask_byte_sizes": (0, record_bytes),
        "box_counts": (-1, record_bytes // store_format.BYTES_A_BOX),
    }


def _array(raw: memoryview, dtype: str) -> np.ndarray:
    """Read-only array over `raw`; a small value, which LMDB keeps unaligned inside a page, is copied."""
    column = np.frombuffer(raw, dtype)
    if not column.flags.aligned:
        column = column.copy()
    column.flags.writeable = False
    return column

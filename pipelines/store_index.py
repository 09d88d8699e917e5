"""The header and the columns of an open store file: checked against each other, then viewed without a loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from . import store_format
from .errors import InputError
from .store_format import HEADER, HEADER_KEY, INDEX
from .store_open import SharedEnvironment


def read_header(environment: SharedEnvironment, path: Path) -> dict[str, Any]:
    """The header of an image store; raises InputError for any other LMDB file and for another schema version."""
    database = environment.database(HEADER)
    raw = None if database is None else environment.get(HEADER_KEY, database)
    if raw is None:
        raise InputError(f"{path} is an LMDB file but not an image store; name one made by sdali build")
    try:
        header = json.loads(bytes(raw))
        kind, schema = header["format"], header["schema"]
    except (ValueError, KeyError, TypeError):
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
    return columns == expected and counted and isinstance(header.get("digest"), str)


def read_columns(environment: SharedEnvironment, path: Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every column as a flat read-only array over the map; raises InputError where one does not fit the count."""
    database, count = environment.database(INDEX), header["count"]
    columns: dict[str, np.ndarray] = {}
    for name, dtype in header["columns"].items():
        raw = None if database is None else environment.get(name.encode(), database)
        expected = store_format.column_bytes(name, dtype, count)
        if raw is None or (expected is not None and raw.nbytes != expected):
            raise InputError(f"the column {name} of {path} does not fit its {count} samples; build it again")
        columns[name] = _array(raw, dtype)
    if columns["name_offsets"][-1] != len(columns["names"]):
        raise InputError(f"the column names of {path} does not fit its {count} samples; build it again")
    return columns


def _array(raw: memoryview, dtype: str) -> np.ndarray:
    """Read-only array over `raw`; a small value, which LMDB keeps unaligned inside a page, is copied."""
    column = np.frombuffer(raw, dtype)
    if not column.flags.aligned:
        column = column.copy()
    column.flags.writeable = False
    return column

"""Opening a store of several files: a folder that has the columns of all samples and a list of the files.

The folder holds `header.json`, one file a column (`labels.column`, ...: the raw bytes of its array), and the shards,
`00000.lmdb`, `00001.lmdb`, ..., each of them a whole store that also opens alone; a joined store names files that lie
elsewhere. The header is that of a store file, with `shards`: for each file its path (relative to the folder, or
absolute), its number of samples and its digest, in the order of the samples.

The columns lie together once more, for less than a thousandth of the images' bytes, so that all processes of a machine
share one copy of them. The offsets of records stay with the file in which the records lie: opening reads and checks
them in each shard. Where shards have different classes, the folder has all of them, by name: its columns hold their
numbers there, and boxes get these when they are read. The digest is that of a store file with the same samples, so
heatmaps, statistics and checkpoints of the one belong to the other too.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.input_files import read_input
from . import format as store_format
from .index import Part, Records, check_columns, image_header, new_labels, read_header, read_offsets
from .lmdb_read import MappedFile, mapped_file

HEADER_FILE = "header.json"


def is_sharded(path: Path) -> bool:
    """Whether it is a folder that holds a store's header."""
    return (path / HEADER_FILE).is_file()


def column_file(folder: Path, name: str) -> Path:
    """Where the folder keeps a column."""
    return folder / f"{name}.column"


def digest_of_shards(shards: Sequence[dict[str, Any]]) -> str:
    """SHA-256 (hex) over the digests of the shards in order, which changes when one is left out, doubled or moved."""
    return hashlib.sha256(json.dumps([shard["digest"] for shard in shards]).encode()).hexdigest()


def open_shards(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], Records]:
    """Header, columns and records of a sharded store; raises InputError where any part is missing or another's."""
    header = _header(folder)
    shards = [_shard(folder, shard, header) for shard in header["shards"]]
    columns = {name: _column(folder, name, dtype, header["count"]) for name, dtype in header["columns"].items()}
    check_columns(columns, folder, header, max(len(file.view) for _, _, file in shards))
    sizes, parts, begin = store_format.record_bytes(columns), [], 0
    for path, shard_header, file in shards:
        end = begin + shard_header["count"]
        part = {what: size[begin:end] for what, size in sizes.items()}
        offsets = read_offsets(file, path, shard_header, part)
        try:
            labels = new_labels(shard_header["classes"], header["classes"])
        except KeyError as error:
            raise InputError(f"{path} has the class {error}, which {folder} has not; join the store again") from None
        parts.append(Part(begin, file, offsets, labels))
        begin = end
    return header, columns, Records(parts)


def _header(folder: Path) -> dict[str, Any]:
    path = folder / HEADER_FILE
    try:
        raw = read_input(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    header = image_header(raw, folder)
    shards = header.get("shards")
    if not (isinstance(shards, list) and shards and all(_is_shard(shard) for shard in shards)):
        raise InputError(f"{path} lists no shards; build or join the store again")
    if digest_of_shards(shards) != header.get("shards_digest"):
        raise InputError(f"{path} lists shards that are not those of the store, or not in its order; join them again")
    if sum(shard["count"] for shard in shards) != header["count"]:
        raise InputError(f"the shards in {path} do not add up to its {header['count']} samples; join them again")
    return header


def _is_shard(shard: Any) -> bool:
    if not isinstance(shard, dict):
        return False
    file, count = shard.get("file"), shard.get("count")
    named = isinstance(file, str) and bool(file) and "\0" not in file and isinstance(shard.get("digest"), str)
    return named and type(count) is int and count > 0


def _shard(folder: Path, shard: dict[str, Any], header: dict[str, Any]) -> tuple[Path, dict[str, Any], MappedFile]:
    """Path, header and map of a shard, whose header says that it is the one that the folder was made from."""
    path = folder / shard["file"]
    if not path.exists():
        raise InputError(f"{path}, a shard of {folder}, is missing; put it back, or build the store again")
    file = mapped_file(path)
    found = read_header(file, path)
    if (found["digest"], found["count"]) != (shard["digest"], shard["count"]) or found["columns"] != header["columns"]:
        raise InputError(
            f"{path} does not hold the images that {folder} was made from: it was replaced, or has changed places with "
            "another; put the right file there, or join the store again"
        )
    return path, found, file


def _column(folder: Path, name: str, dtype: str, count: int) -> np.ndarray:
    """A flat read-only array over the file's map."""
    path = column_file(folder, name)
    expected = store_format.column_bytes(name, dtype, count)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) or (expected is not None and status.st_size != expected):
            raise InputError(f"{path} does not fit the {count} samples of {folder}; build or join the store again")
        return np.asarray(np.memmap(path, dtype, "r")) if status.st_size else np.zeros(0, dtype)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; build or join the store again") from None

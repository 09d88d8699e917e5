"""Header and columns of an open store file, checked without a loop, and the records that the columns lead to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from . import format as store_format
from .format import HEADER, HEADER_KEY, INDEX
from .lmdb_read import MappedFile

REBUILD = "build it again with `sdali build SOURCE {path}`"


def parse_header(raw: bytes | memoryview | None, path: Path, kind: str, rebuild: str) -> dict[str, Any]:
    """The header of the store `path` from its JSON; raises InputError where it is none of this kind and schema.

    kind: "an image store" for headers of the format "sdali image store"; rebuild: what to do about another schema.
    """
    try:
        header = json.loads(bytes(raw or b"{}"))
        found, schema = header.get("format", "foreign LMDB file"), header.get("schema")
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path} has no legible header; {rebuild}") from None
    if found != f"sdali {kind.partition(' ')[2]}":
        raise InputError(f"{path} is not {kind} but a {found}; name another file")
    if schema != store_format.SCHEMA:
        raise InputError(
            f"{path} has schema version {schema}, and this sdali reads version {store_format.SCHEMA}; {rebuild}"
        )
    return header


def read_header(file: MappedFile, path: Path) -> dict[str, Any]:
    """The header of an image store; raises InputError for any other LMDB file and for another schema version."""
    return image_header(file.get(HEADER, HEADER_KEY), path)


def image_header(raw: bytes | memoryview | None, path: Path) -> dict[str, Any]:
    """The header of the image store `path` from its JSON; raises InputError where it is none."""
    rebuild = REBUILD.format(path=path)
    header = parse_header(raw, path, "an image store", rebuild)
    if not _is_complete(header):
        raise InputError(f"{path} has no legible header; {rebuild}")
    return header


def _is_complete(header: dict[str, Any]) -> bool:
    columns, classes = header.get("columns"), header.get("classes")
    if not isinstance(columns, dict) or not isinstance(classes, list):
        return False
    has_boxes = "box_crc32" in columns
    expected = store_format.columns_of(
        has_masks="mask_crc32" in columns,
        has_boxes=has_boxes,
        has_ids=_are_ids(header.get("category_ids"), len(classes)),
        has_areas=has_boxes and "box_areas" in columns,
    )
    ignore_index = header.get("ignore_index")
    if ignore_index is not None and not (isinstance(ignore_index, int) and 0 <= ignore_index <= 255):
        return False
    counted = isinstance(header.get("count"), int) and header["count"] > 0
    named = all(isinstance(name, str) for name in classes)
    return columns == expected and counted and named and isinstance(header.get("digest"), str)


def _are_ids(category_ids: Any, classes: int) -> bool:
    return (
        isinstance(category_ids, list)
        and len(category_ids) == classes
        and all(type(number) is int for number in category_ids)
    )


def read_columns(file: MappedFile, path: Path, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every column of an image store as a flat read-only array over the map, all of them those of the digest.

    Raises InputError where one does not fit the count, the digest, the classes or the file.
    """
    count = header["count"]
    columns = {
        name: read_column(file, path, name, dtype, store_format.column_bytes(name, dtype, count))
        for name, dtype in header["columns"].items()
    }
    check_columns(columns, path, header, len(file.view))
    return columns


def read_column(file: MappedFile, path: Path, name: str, dtype: str, expected: int | None) -> np.ndarray:
    """One column as a flat read-only array over the map; InputError unless it has the expected number of bytes."""
    raw = file.get(INDEX, name.encode())
    if raw is None or (expected is not None and raw.nbytes != expected):
        raise InputError(f"the column {name} of {path} does not fit the samples that its header counts; build it again")
    column = np.frombuffer(raw, dtype)
    if not column.flags.aligned:  # a small value, which lies inside a page
        column = column.copy()
    column.flags.writeable = False
    return column


def check_columns(columns: dict[str, np.ndarray], path: Path, header: dict[str, Any], file_bytes: int) -> None:
    """Raise InputError unless the columns are those of the header's digest, and of values that can be.

    file_bytes: of the largest file, which no record exceeds.
    """
    if store_format.digest_of(columns, header) != header["digest"]:
        raise InputError(f"the columns of {path} do not match its digest; build it again")
    limits = {
        "labels": (-1, len(header["classes"]) - 1),
        "sizes": (1, np.iinfo(np.int32).max),
        "byte_sizes": (1, file_bytes),
        "mask_byte_sizes": (0, file_bytes),
        "box_counts": (-1, file_bytes // store_format.BYTES_A_BOX),
        "source_sizes": (1, np.iinfo(np.int32).max),
    }
    for name, (low, high) in limits.items():
        if name in columns and not low <= columns[name].min() <= columns[name].max() <= high:
            raise InputError(f"the column {name} of {path} has impossible values; build it again")
    offsets = columns["name_offsets"]
    if offsets[0] != 0 or offsets[-1] != len(columns["names"]) or (offsets[1:] < offsets[:-1]).any():
        raise InputError(f"the column names of {path} does not fit its {header['count']} samples; build it again")
    areas = columns.get("box_areas")
    if areas is not None and len(areas) != np.maximum(columns["box_counts"], 0).sum():
        raise InputError(f"the column box_areas of {path} does not fit the number of its boxes; build it again")


def read_offsets(
    file: MappedFile, path: Path, header: dict[str, Any], sizes: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """For "image" the column `image_offsets`, and so on: int64 [N], read-only; every record lies within the file.

    sizes: by the same names the bytes of the records, int64 [N], none larger than the file. Raises InputError where a
    column is missing, has another checksum than the header says, or leads out of the file.
    """
    offsets = {what: read_column(file, path, f"{what}_offsets", "<i8", size.nbytes) for what, size in sizes.items()}
    if store_format.offsets_crc32(offsets) != header.get("offsets_crc32"):
        raise InputError(f"the record offsets of {path} do not match their checksum; build it again")
    for what, size in sizes.items():
        if offsets[what].min() < 0 or (offsets[what] > len(file.view) - size).any():
            raise InputError(f"the column {what}_offsets of {path} leads out of the file; build it again")
    return offsets


def new_labels(classes: Sequence[str], of_store: Sequence[str]) -> np.ndarray | None:
    """int64 [K]: where each of the classes of a file is among those of the store; None where they are the same.

    Raises KeyError for a class that the store does not have.
    """
    if list(classes) == list(of_store):
        return None
    label_of = {name: label for label, name in enumerate(of_store)}
    return np.array([label_of[name] for name in classes], np.int64)


class Part(NamedTuple):
    """The samples of one file, from index `begin` on."""

    begin: int
    file: MappedFile
    offsets: dict[str, np.ndarray]
    """Of their records in the file, by kind: "image", "mask", "box"."""
    labels: np.ndarray | None = None
    """int64 [K]: the class of the store for each class of the file's boxes; None where they are the same."""


class Records:
    """The images, masks and boxes of a store as bytes: slices of its file, or of several files one after the other.

    Attributes: `parts`, in the order of their samples; `file_bytes`, of all files together.
    """

    def __init__(self, parts: Iterable[Part]) -> None:
        self.parts = tuple(parts)
        self.file_bytes = sum(len(part.file.view) for part in self.parts)
        self._begins = np.array([part.begin for part in self.parts])

    def read(self, what: str, indices: np.ndarray, sizes: np.ndarray) -> list[memoryview]:
        """The records of one kind of samples int64 [n], of these sizes in bytes; each view keeps its file open."""
        if len(self.parts) == 1 and self.parts[0].labels is None:
            (part,) = self.parts
            view, begins = part.file.view, part.offsets[what][indices].tolist()
            return [view[begin : begin + size] for begin, size in zip(begins, sizes.tolist(), strict=True)]
        views = []
        numbers = self._begins.searchsorted(indices, "right") - 1
        for number, index, size in zip(numbers.tolist(), indices.tolist(), sizes.tolist(), strict=True):
            part = self.parts[number]
            begin = int(part.offsets[what][index - part.begin])
            view = part.file.view[begin : begin + size]
            if what == "box" and part.labels is not None:
                view = memoryview(store_format.relabelled_boxes(view, part.labels))
            views.append(view)
        return views

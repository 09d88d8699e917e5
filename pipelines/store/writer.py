"""Writing an image store: records as they come, then the columns, the header, the meta pages, and the final name.

Records go to disk in pages of the final file (lmdb_write), so the memory is bounded and nothing is written twice. No
half-written file can be mistaken for a store: it still has its partial name and no meta pages.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.publish import PartialFile, write_errors
from . import format as store_format
from .boxes import Boxes
from .format import BOXES, HEADER, HEADER_KEY, IMAGES, INDEX, MASKS, RECORDS
from .lmdb_write import LmdbFile

_ARRAY_CODES = {"<i8": "q", "<i4": "i", "<u4": "I", "|u1": "B", "<f8": "d"}


class StoreWriter:
    """Context manager that builds one store; a clean exit publishes it, an exception removes every trace of it.

    `path`: the name of the finished store. `classes`: class names, () for a store without labels. `ignore_index`: where
    the classes are those of the masks' pixels, the value of pixels without one. `category_ids`: the numbers of the
    classes in a source that numbers classes and images; each sample then has an `image_id`. `has_areas`: boxes come
    with areas. `provenance`: JSON-able, kept in the header, no part of the digest. Raises InputError for a target that
    exists (unless `overwrite`) or is being built, for a full disk, and for a sample that contradicts the declaration of
    the store.
    `record_bytes` counts the bytes of all records so far. `finish` and `publish` may also be called one by one, to look
    at the complete file under its `partial` name first.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        classes: Sequence[str],
        overwrite: bool = False,
        has_masks: bool = False,
        has_boxes: bool = False,
        ignore_index: int | None = None,
        category_ids: Sequence[int] | None = None,
        has_areas: bool = False,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.path, self.classes = Path(path), tuple(classes)
        self.has_masks, self.has_boxes, self.ignore_index = has_masks, has_boxes, ignore_index
        self.category_ids, self.has_areas = None if category_ids is None else list(category_ids), has_areas
        self._provenance = dict(provenance or {})
        dtypes = store_format.columns_of(
            has_masks=has_masks, has_boxes=has_boxes, has_ids=category_ids is not None, has_areas=has_areas
        )
        self._dtypes = dtypes
        # Packed, because lists of Python's integers would take a gigabyte for ten million samples.
        self._columns = {name: array(_ARRAY_CODES[dtype]) for name, dtype in dtypes.items()}
        self._columns["name_offsets"].append(0)  # one more than there are names, so that each has a begin and an end
        self.record_bytes = 0
        with write_errors(self.path):
            self._file = PartialFile(self.path, overwrite=overwrite)
        self.partial = self._file.path
        names = [IMAGES, INDEX, HEADER] + [MASKS] * has_masks + [BOXES] * has_boxes
        self._lmdb = LmdbFile(self._file.descriptor, names)

    def __len__(self) -> int:
        return len(self._columns["labels"])

    @property
    def file_bytes(self) -> int:
        """Bytes of the published file."""
        return self.path.stat().st_size

    def add(
        self,
        data: bytes,
        *,
        label: int,
        height: int,
        width: int,
        name: str,
        mask: bytes | None = None,
        boxes: Boxes | None = None,
        crc32: int | None = None,
        image_id: int | None = None,
        source_size: tuple[int, int] | None = None,
    ) -> None:
        """Append one sample; its index is the number of samples before it.

        `data`: encoded image; `height`, `width`: after EXIF orientation; `label`: class, -1 for none; `name`: relative
        path of the source with '/'; `mask`: single-channel PNG; `boxes`: inside the oriented image, None: not
        annotated; `crc32`: of `data`, where the caller has it already; `image_id`: its number in the source, in a store
        with category ids; `source_size`: height and width there, where they are others.
        """
        # Before anything is appended: columns and records that differ in number would shift all later samples.
        self._check(data, label, height, width, name, mask, boxes, image_id)
        columns, index = self._columns, store_format.key(len(self))
        # File names on Linux are bytes, not always UTF-8; a strict encoder would end the build at the first such name.
        encoded_name = name.encode("utf-8", "surrogateescape")
        columns["labels"].append(label)
        columns["sizes"].extend((height, width))
        columns["byte_sizes"].append(len(data))
        columns["crc32"].append(zlib.crc32(data) if crc32 is None else crc32)
        columns["names"].frombytes(encoded_name)
        columns["name_offsets"].append(len(columns["names"]))
        if image_id is not None:
            columns["image_ids"].append(image_id)
            columns["source_sizes"].extend(source_size or (height, width))
        if self.has_areas and boxes is not None:
            columns["box_areas"].extend(boxes.object_areas().tolist())
        with write_errors(self.path):
            self._put(IMAGES, index, data)
            if self.has_masks:
                # Also without a mask, as 0: the columns of a sample are found by its index alone.
                columns["mask_byte_sizes"].append(len(mask or b""))
                columns["mask_crc32"].append(zlib.crc32(mask or b""))
                self._put(MASKS, index, mask or b"")
            if self.has_boxes:
                record = b"" if boxes is None else store_format.encode_boxes(boxes)
                # -1 is not annotated, 0 is annotated and empty; both as 0, they could not be told apart again.
                columns["box_counts"].append(-1 if boxes is None else len(record) // store_format.BYTES_A_BOX)
                columns["box_crc32"].append(zlib.crc32(record))
                self._put(BOXES, index, record)

    def _check(
        self, data: bytes, label: int, height: int, width: int, name: str, mask: Any, boxes: Any, image_id: int | None
    ) -> None:
        wrong = (
            "has no bytes" if not data
            else f"has label {label}, outside the {len(self.classes)} classes" if not -1 <= label < len(self.classes)
            else f"has the size {height} x {width}" if min(height, width) < 1
            else "has a mask, but the store was declared without" if mask is not None and not self.has_masks
            else "has boxes, but the store was declared without" if boxes is not None and not self.has_boxes
            else "has boxes that are not K x 4 with K classes and flags" if boxes is not None and not _are_boxes(boxes)
            else f"has a box of none of the {len(self.classes)} classes"
            if boxes is not None and not ((boxes.labels >= 0) & (boxes.labels < len(self.classes))).all()
            else "has an image id, but the store was declared without category ids, or the other way round"
            if (image_id is None) is not (self.category_ids is None)
            else None
        )  # fmt: skip
        if wrong:
            raise InputError(f"{name} {wrong}; correct the source of {self.path}")

    def _put(self, database: bytes, key: bytes, record: bytes) -> None:
        if record:  # else there is none
            self._lmdb.put(database, key, record)
            self.record_bytes += len(record)

    def finish(self) -> str:
        """Write columns and header and flush everything to disk, under the partial name; returns the digest."""
        if not len(self):
            raise InputError(f"no image for {self.path}; name a source that has some")
        columns: dict[str, Any] = dict(self._columns)
        with write_errors(self.path):
            offsets = self._offsets()  # closes the records' databases, so it comes after the last of them
            # The digest is of the content, so offsets come after it: they would change it with the order of writing.
            digest = store_format.digest(columns, self.classes, self.ignore_index, self.category_ids)
            header = self._header(digest, offsets)
            columns |= {f"{what}_offsets": column for what, column in offsets.items()}
            for name in sorted(columns):  # keys must ascend
                self._lmdb.put(INDEX, name.encode(), columns[name].tobytes())
            self._lmdb.put(HEADER, HEADER_KEY, json.dumps(header).encode())
            self._lmdb.finish()
        return header["digest"]

    def _offsets(self) -> dict[str, np.ndarray]:
        """By kind, where each sample's record begins in the file, int64 [N], 0 where there is none."""
        offsets = {}
        sizes = store_format.record_bytes({name: np.asarray(column) for name, column in self._columns.items()})
        for what, size in sizes.items():
            offsets[what] = np.zeros(len(self), "<i8")
            offsets[what][size > 0] = self._lmdb.offsets(RECORDS[what])
        return offsets

    def _header(self, digest: str, offsets: Mapping[str, np.ndarray]) -> dict[str, Any]:
        return {
            "format": store_format.FORMAT,
            "schema": store_format.SCHEMA,
            "count": len(self),
            "classes": list(self.classes),
            "digest": digest,
            "columns": self._dtypes,
            "offsets_crc32": store_format.offsets_crc32(offsets),
            "record_bytes": self.record_bytes,
            "provenance": self._provenance,
            **({} if self.ignore_index is None else {"ignore_index": self.ignore_index}),
            **({} if self.category_ids is None else {"category_ids": self.category_ids}),
        }

    def publish(self) -> None:
        """Give the finished file its name, replacing a store that `overwrite` allowed to replace."""
        with write_errors(self.path):
            self._file.publish()

    def discard(self) -> None:
        """Remove the partial file; does nothing to a published store."""
        self._file.discard()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.finish()
                self.publish()
        finally:  # also when finish or publish fails, or an unfinished file would keep its lock and its space
            self.discard()


def _are_boxes(boxes: Boxes) -> bool:
    return np.shape(boxes.xyxy) == (len(boxes.labels), 4) and len(boxes.labels) == len(boxes.difficult)

"""Heatmap stores: what lies in one, and reading it, checked against the images it was made from.

A heatmap is a uint8 map [h, w] over the whole oriented image: cell (i, j) covers rows i*H/h to (i+1)*H/h and the
columns alike. Values are relative to the map's own maximum, which is 255. An all-zero map means that nothing stands
out, and the loader then draws a plain window.

The store is one LMDB file (format 0.9), immutable once published:
- `maps`: 8-byte big-endian index -> the h * w bytes of the map, row by row. Maps have 50 to 1,000 bytes, too few for
  compression to pay.
- `index`: one value for each of COLUMNS, the raw bytes of its array, and one for `map_offsets` (int64 [N]), which say
  where in the file each map begins.
- `header`: one JSON document: the digest of the images, the method, the model, the number of maps, the store's own
  digest (SHA-256 over COLUMNS), and the CRC32 of the offsets, which depend on the layout of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zlib import crc32

import numpy as np

from ..errors import InputError
from . import format as store_format
from .format import HEADER, HEADER_KEY
from .index import parse_header, read_column, read_offsets
from .lmdb_read import mapped_file
from .reader import ImageStore

FORMAT = "sdali heatmap store"
MAPS = b"maps"
COLUMNS = {"sizes": "<u2", "crc32": "<u4"}  # [N, 2] height and width in cells; [N] of the map's bytes
LARGEST_SIDE = (1 << 16) - 1  # cells
KIND = "a heatmap store"
AGAIN = "make it again with sdali cams"


class Heatmaps(Protocol):
    """Where the object is, image by image: CAMs, masks, boxes or a user's own arrays."""

    def __len__(self) -> int:
        """As many as the store has images."""
        ...

    def __getitem__(self, index: int, /) -> np.ndarray:
        """uint8 [h, w], any h and w, over the whole (EXIF-oriented) image of that index in the store.

        A user's own may be float of any scale, made uint8 by `quantise`, and a torch tensor.
        """
        ...


class Cells(NamedTuple):
    """The maps of a batch, one after another."""

    values: np.ndarray
    """uint8 [cells of all maps], row by row."""

    shapes: np.ndarray
    """int64 [N, 2]: height and width of each map."""


def quantise(maps: np.ndarray) -> np.ndarray:
    """Maps float [..., h, w], of any scale and finite, as uint8 [..., h, w], each relative to its own maximum:
    `round(255 * max(m, 0) / max(m))`, all zero where nothing is positive.
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    peak = positive.max(axis=(-2, -1), keepdims=True)
    return np.rint(255 * (positive / np.where(peak > 0, peak, 1))).astype(np.uint8)


class HeatmapStore:
    """An open heatmap store: a sequence of read-only uint8 maps [h, w], in the order of the image store.

    Attributes: `path`; `header`, a dict with `images_digest`, `method`, `model_digest`, `count` and `digest` (of the
    content of all maps). May be pickled (it reopens by path and refuses another content) and used after a fork. Raises
    InputError for a file that is missing, foreign, truncated, unfinished or of another schema, and for columns that are
    not those of the digest.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        file = self._file = mapped_file(self.path, KIND)
        self._view, self._bytes = file.view, np.frombuffer(file.view, np.uint8)
        self.header = read_header(file.get(HEADER, HEADER_KEY), self.path)
        expected = 4 * self.header["count"]  # bytes of each column
        columns = {name: read_column(file, self.path, name, dtype, expected) for name, dtype in COLUMNS.items()}
        if store_format.digest(columns, ()) != self.header["digest"]:
            raise InputError(f"the columns of {self.path} do not match its digest; {AGAIN}")
        self._sizes, self._crc32 = columns["sizes"].reshape(-1, 2), columns["crc32"]
        cells = np.multiply(self._sizes[:, 0], self._sizes[:, 1], dtype=np.int64)
        if not 0 < cells.min() <= cells.max() <= len(file.view):
            raise InputError(f"{self.path} has maps of impossible sizes; {AGAIN}")
        self._offsets = read_offsets(file, self.path, self.header, {"map": cells})["map"]

    def __len__(self) -> int:
        return len(self._crc32)

    def __getitem__(self, index: int) -> np.ndarray:
        """The map of one image, a view of the file that keeps it open; all zero where nothing stands out.

        Raises IndexError outside 0..len-1, InputError for a damaged map.
        """
        (record,), shapes = self._records(np.array([index]))
        return np.frombuffer(record, np.uint8).reshape(shapes[0])

    def cells(self, indices: np.ndarray) -> Cells:
        """The maps of int64 [N] images, as one batch in fresh memory; raises as indexing does."""
        records, shapes = self._records(indices)
        return Cells(np.frombuffer(bytearray().join(records), np.uint8), shapes)

    def _records(self, indices: np.ndarray) -> tuple[list[memoryview], np.ndarray]:
        """The bytes of these maps, and their heights and widths, int64 [N, 2]; raises as indexing does."""
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            outside = indices[(indices < 0) | (indices >= len(self))][0]
            raise IndexError(f"{self.path} has no map {outside}: its indices are 0 to {len(self) - 1}")
        shapes, begins = self._sizes[indices].astype(np.int64), self._offsets[indices]
        ends = begins + shapes[:, 0] * shapes[:, 1]
        # One gather of all first bytes, so that the loop below does not wait for memory once for every map.
        self._bytes[begins]
        records = [self._view[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]
        checksums, expected = list(map(crc32, records)), self._crc32[indices].tolist()
        if checksums != expected:
            self._file.check_unchanged()
            damaged = next(i for i, a, b in zip(indices.tolist(), checksums, expected, strict=True) if a != b)
            raise InputError(f"heatmap {damaged} of {self.path} fails its checksum; {AGAIN}")
        return records, shapes

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    def check(self, store: ImageStore) -> None:
        """Raise InputError unless the maps were made from exactly these images."""
        if self.header["images_digest"] != store.digest or len(self) != len(store):
            raise InputError(
                f"the heatmaps {self.path} were made from other images than {store.path}; {AGAIN} {store.path}"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "digest": self.header["digest"]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])
        if self.header["digest"] != state["digest"]:
            raise InputError(
                f"{self.path} was replaced by another heatmap store while in use; start again with the new one"
            )

    def __repr__(self) -> str:
        return f"HeatmapStore({str(self.path)!r}): {len(self)} maps, {self.header['method']}"


def read_header(raw: bytes | memoryview | None, path: Path) -> dict[str, Any]:
    """The header of the heatmap store `path` from its JSON; raises InputError where it is none."""
    header = parse_header(raw, path, KIND, f"make it again with `sdali cams STORE {path}`")
    texts, count = (header.get("images_digest"), header.get("method"), header.get("digest")), header.get("count")
    if not all(isinstance(text, str) for text in texts) or type(count) is not int or count < 1:
        raise InputError(f"{path} has no legible header; {AGAIN}")
    return header

"""Reading a heatmap store: index -> uint8 map, checked against the images it was made from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .format import key
from .heatmap_codec import FORMAT, HEADER, HEADER_KEY, MAPS, SCHEMA, Cells, decode, decode_batch
from .lmdb_read import find
from .open_file import shared_file
from .reader import ImageStore

KIND = "a heatmap store"
AGAIN = "make it again with sdali cams"


class HeatmapStore:
    """An open heatmap store: a sequence of read-only uint8 maps [h, w], in the order of the image store.

    Attributes: `path`; `header`, a dict with `images_digest`, `method`, `model_digest`, `count` and `digest` (SHA-256
    of all records). May be pickled (it reopens by path and refuses another content) and used after a fork. Raises
    InputError for a file that is missing, foreign, truncated or unfinished.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = shared_file(self.path, KIND)
        self._maps = self._file.database(MAPS)
        self.header: dict[str, Any] = self._read_header()
        self._count: int = self.header["count"]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        """The map of one image, a view of the file that keeps it open; all zero where nothing was found.

        Raises IndexError outside 0..len-1, InputError for a damaged record.
        """
        if not 0 <= index < self._count:
            raise IndexError(f"{self.path} has no map {index}: its indices are 0 to {self._count - 1}")
        record = self._file.get(key(index), self._maps)
        try:
            return decode(b"" if record is None else record)
        except ValueError as error:
            raise InputError(f"heatmap {index} of {self.path} {error}; {AGAIN}") from None

    def cells(self, indices: np.ndarray) -> Cells:
        """The maps of int64 [N] images, as one batch; raises as indexing does."""
        file = self._file.file
        try:
            return decode_batch(file, *find(file, self._maps or b"", indices))
        except ValueError:
            for index in indices.tolist():
                self[index]  # names the culprit, unless the damage lies on the way to it
            raise InputError(f"the pages of {self.path} are damaged; {AGAIN}") from None

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self._count))

    def check(self, store: ImageStore) -> None:
        """Raise InputError unless the maps were made from exactly these images."""
        if self.header["images_digest"] != store.digest or len(self) != len(store):
            raise InputError(
                f"the heatmaps {self.path} were made from other images than {store.path}; {AGAIN} {store.path}"
            )

    def _read_header(self) -> dict[str, Any]:
        raw = self._file.get(HEADER_KEY, self._file.database(HEADER))
        try:
            header = json.loads(bytes(raw or b"{}"))
            kind, schema = header.get("format", "foreign LMDB file"), header.get("schema")
        except (ValueError, AttributeError, RecursionError):
            raise InputError(f"{self.path} has no legible header; {AGAIN}") from None
        if kind != FORMAT:
            raise InputError(f"{self.path} is not {KIND} but a {kind}; name a file made by sdali cams")
        if schema != SCHEMA:
            raise InputError(f"{self.path} has schema version {schema}, this sdali reads {SCHEMA}; {AGAIN}")
        texts, count = (header.get("images_digest"), header.get("method"), header.get("digest")), header.get("count")
        if not all(isinstance(text, str) for text in texts) or type(count) is not int or count < 1:
            raise InputError(f"{self.path} has no legible header; {AGAIN}")
        return header

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

"""Where the records of a store's samples lie: in one LMDB file, or in several one after the other.

Sample i of the store is the one of key i - begin in the file whose samples begin at `begin`. A batch is found in one
compiled search, over however many files it is spread.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .format import BOXES, IMAGES, MASKS, key
from .open_file import SharedFile

if TYPE_CHECKING:
    from .lmdb_read import Searched


class Part(NamedTuple):
    """One file's share of the samples: those from `begin` up to `end`."""

    begin: int
    end: int
    file: SharedFile
    database: bytes


class Records:
    """The open files of a store and how many samples each has, at least 1.

    Attributes: `file_bytes`, of all files together.
    """

    def __init__(self, files: Sequence[SharedFile], counts: Sequence[int]) -> None:
        self._files, self._ends = tuple(files), np.cumsum(counts)
        self._begins = [0, *self._ends[:-1].tolist()]
        self._databases = {name: [file.database(name) for file in files] for name in (IMAGES, MASKS, BOXES)}
        self.file_bytes = sum(len(file.view) for file in files)

    def get(self, name: bytes, index: int) -> memoryview | None:
        """The sample's record in the database of that name, None where there is none; it keeps the file open."""
        place = bisect_right(self._begins, index) - 1
        return self._files[place].get(key(index - self._begins[place]), self._databases[name][place])

    def images(self, indices: np.ndarray) -> list[memoryview | None]:
        """As `get`, for the images of int64 [N] samples, at a fraction of the cost; loads numba."""
        if len(self._files) == 1:
            from .lmdb_read import find

            (file,) = self._files
            begins, sizes = find(file.file, self._databases[IMAGES][0] or b"", indices)
            views = [file.view] * len(indices)
        else:
            places = np.searchsorted(self._ends, indices, "right")
            begins, sizes = self._searched.find(places, indices - np.take(self._begins, places))
            views = [self._files[place].view for place in places.tolist()]
        found = zip(views, begins.tolist(), (begins + sizes).tolist(), strict=True)
        return [view[begin:end] if begin >= 0 else None for view, begin, end in found]

    def parts(self, name: bytes) -> Iterator[Part]:
        """The files in the order of their samples, each with its database of that name."""
        for begin, end, file, database in zip(
            self._begins, self._ends.tolist(), self._files, self._databases[name], strict=True
        ):
            yield Part(begin, end, file, database or b"")

    @cached_property
    def _searched(self) -> Searched:
        from .lmdb_read import Searched  # here, so that opening a store loads no numba

        return Searched([file.file for file in self._files], [own or b"" for own in self._databases[IMAGES]])

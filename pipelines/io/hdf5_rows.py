"""Rows of an HDF5 dataset for many threads: a compressed chunk of many rows is decompressed once, not once a row.

HDF5 decompresses a whole chunk to hand out one row of it. So the rows of a chunk are read together, and the last two
such blocks kept: enough for threads that ask in ascending order, whose places differ by a few rows. h5py lets one
thread in at a time, so a lock around a read costs nothing.
"""

from __future__ import annotations

import math
import os
import threading

import h5py
import numpy as np

from ..errors import InputError
from .hdf5 import H5PY_ERRORS, reason_of

BLOCK_BYTES = 1 << 28  # our choice: of larger chunks a part is kept, and they are decompressed once a part
LARGEST_CHUNK = 1 << 30  # our choice: bytes that HDF5 takes to hand out a single row
LARGEST_ROW = 1 << 28  # our choice: bytes of a row of variable length; no photograph's file is larger
_BLOCKS_KEPT = 2


class Rows:
    """Row i of a dataset [N, ...], read when asked for, on any thread; quickest in ascending order.

    Holds at most 512 MiB, or two rows where these are larger, and keeps the file open. Raises ValueError for chunks of
    more than 1 GiB.
    """

    def __init__(self, data: h5py.Dataset) -> None:
        if data.chunks and math.prod(data.chunks) * data.dtype.itemsize > LARGEST_CHUNK:
            raise ValueError(f"{data.name} has chunks of {list(data.chunks)}, more than {LARGEST_CHUNK:,} bytes each")
        self._data = data
        self._step = _rows_a_block(data)
        self._blocks: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> np.ndarray:
        """A view of row `row`; raises InputError "cannot be read: ..." where its bytes are damaged, "has ... bytes" for
        one of variable length and more than 256 MiB.
        """
        number, place = divmod(row, self._step)
        with self._lock:
            if number not in self._blocks:
                if len(self._blocks) == _BLOCKS_KEPT:
                    del self._blocks[next(iter(self._blocks))]
                self._blocks[number] = self._read(number * self._step)
            return self._blocks[number][place]

    def _read(self, start: int) -> np.ndarray:
        try:
            if self._data.dtype.hasobject and (claimed := _claimed_bytes(self._data, start)) > LARGEST_ROW:
                raise InputError(f"has {claimed:,} bytes, more than the {LARGEST_ROW:,} allowed")
            return self._data[start : start + self._step]
        except InputError:
            raise
        except H5PY_ERRORS as error:
            raise InputError(f"cannot be read: {reason_of(error)}") from None


def _rows_a_block(data: h5py.Dataset) -> int:
    """Rows of a chunk, or as many as BLOCK_BYTES hold; one where nothing is gained, or their size is not known."""
    row_bytes = math.prod(data.shape[1:]) * data.dtype.itemsize
    if not data.chunks or data.dtype.hasobject or not row_bytes:
        return 1
    return max(1, min(data.chunks[0], BLOCK_BYTES // row_bytes))


def _claimed_bytes(data: h5py.Dataset, row: int) -> int:
    """What a row of variable length says it takes, before HDF5 takes as much memory; 0 where it is not stored so.

    Its length is the first 4 bytes of its reference, of which h5py hands out nothing. Filters, which save little on
    references, hide it; the length, 32 bits, then bounds the memory.
    """
    if not data.chunks:
        offset, size, place = data.id.get_offset(), data.id.get_storage_size() // len(data), row
    elif data.id.get_create_plist().get_nfilters():
        return 0
    else:
        number, place = divmod(row, data.chunks[0])
        chunk = data.id.get_chunk_info_by_coord((number * data.chunks[0],))
        offset, size = chunk.byte_offset, chunk.size // data.chunks[0]
    if offset is None:  # never written, or beside the header
        return 0
    return int.from_bytes(os.pread(data.file.id.get_vfd_handle(), 4, offset + place * size), "little")

"""Writing an HDF5 file: whole or not at all, and with its space reserved first.

libhdf5 (2.0, as in h5py 3.16) ends the process with a segmentation fault where a disk fills up under a file that it
closes. So the file's largest size is taken from the disk before anything is written, and what is too much is given back
at the end; a full disk is then an error of the reservation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from .publish import PartialFile, write_errors

_STRUCTURE_BYTES = 1 << 16  # what a few datasets and attributes take beside their values


@contextmanager
def written_hdf5(path: Path, *, largest: int, overwrite: bool) -> Iterator[h5py.File]:
    """An empty file to fill, published as `path` when the block ends, removed where it raises.

    `largest`: bytes that all values take at most. Raises InputError for a target that exists (unless `overwrite`) or
    cannot be written, and for a full disk.
    """
    with write_errors(path):
        partial = PartialFile(path, overwrite=overwrite)
        try:
            _reserve(partial.path, largest + _STRUCTURE_BYTES)
            with h5py.File(partial.path, "r+", locking=False) as file:  # our own lock is on it
                yield file
            os.fsync(partial.descriptor)
            partial.publish()
        finally:
            partial.discard()


def write_text(file: h5py.File, name: str, values: Iterable[str]) -> None:
    """A dataset [N] of variable-length strings, which hdf5.text reads back."""
    encoded = [value.encode("utf-8", "surrogateescape") for value in values]
    file.create_dataset(name, (len(encoded),), h5py.string_dtype(), data=encoded)


def bytes_of_rows(count: int, total: int) -> int:
    """The largest space that `count` rows of variable length with `total` bytes in all take.

    A row has a reference of 16 bytes and a header of as many, and is rounded up to 8; heaps are at most half empty.
    """
    return 2 * (count * 40 + total) + 4096


def _reserve(path: Path, size: int) -> None:
    """Make an empty HDF5 file of `size` bytes, which HDF5 cuts to what it needs when it closes it."""
    with h5py.File("in memory", "w", driver="core", backing_store=False) as file:
        file.flush()
        empty = file.id.get_file_image()
    with open(path, "r+b") as raw:
        raw.write(empty)
        raw.flush()
        os.posix_fallocate(raw.fileno(), 0, size)

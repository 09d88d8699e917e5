"""Rows of HDF5 datasets: the same on threads and in any order, a chunk decompressed once, damage kept to its rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io import hdf5
from sdali.pipelines.io.hdf5 import Rows, dataset

VALUES = np.random.default_rng(0).integers(0, 256, (50, 12, 10, 3), np.uint8)


@contextmanager
def rows_of(path: Path, **layout: Any) -> Iterator[Rows]:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=VALUES, **layout)
    with h5py.File(path, "r") as file:
        yield Rows(dataset(file, "x"))


LAYOUTS = [
    {},
    {"chunks": (1, 12, 10, 3), "compression": "gzip"},
    {"chunks": (8, 12, 10, 3), "compression": "gzip"},
    {"chunks": (7, 5, 4, 1), "compression": "gzip"},
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block_bytes", [1, 5 * 360, 1 << 28])
def test_every_row_on_every_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: dict[str, Any], block_bytes: int
) -> None:
    """Eight threads, in order and at random, in blocks of a row, of a part of a chunk, and of a chunk."""
    monkeypatch.setattr(hdf5, "BLOCK_BYTES", block_bytes)
    with rows_of(tmp_path / "a.h5", **layout) as rows, ThreadPoolExecutor(8) as pool:
        for order in (range(50), np.random.default_rng(1).permutation(50).tolist()):
            for row, value in zip(order, pool.map(rows.__getitem__, order), strict=True):
                np.testing.assert_array_equal(value, VALUES[row])


def test_a_chunk_of_many_rows_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 rows in chunks of 8 are seven reads; the rows that threads ask for late are still there."""
    reads, read = [], Rows._read
    monkeypatch.setattr(Rows, "_read", lambda self, start: reads.append(start) or read(self, start))
    with rows_of(tmp_path / "a.h5", **LAYOUTS[2]) as rows:
        for row in [*range(12), 7, 6, *range(12, 50)]:
            rows[row]
    assert reads == list(range(0, 50, 8))


def test_a_damaged_chunk_costs_its_own_rows(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", data=VALUES, chunks=(8, 12, 10, 3), compression="gzip")
        where = data.id.get_chunk_info(2)
    with open(tmp_path / "a.h5", "r+b") as raw:
        raw.seek(where.byte_offset)
        raw.write(bytes(where.size))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        rows = Rows(dataset(file, "x"))
        for row in range(50):
            if 16 <= row < 24:
                with pytest.raises(InputError, match=r"^cannot be read: "):
                    rows[row]
            else:
                np.testing.assert_array_equal(rows[row], VALUES[row])


def test_chunks_that_take_gigabytes_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        data = file.create_dataset("x", (4096, 1 << 20), "u1", chunks=(1025, 1 << 20), compression="gzip")
        with pytest.raises(ValueError, match=r"/x has chunks of \[1025, 1048576\], more than 1,073,741,824 bytes"):
            Rows(data)

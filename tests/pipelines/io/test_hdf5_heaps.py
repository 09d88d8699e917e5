"""Heaps that HDF5 would walk through for ever are refused before it opens the file; sound ones are not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io import hdf5_heaps
from sdali.pipelines.io.hdf5 import dataset
from sdali.pipelines.io.hdf5_heaps import check_heaps, largest_claim
from sdali.pipelines.sources.hdf5 import hdf5


def encoded(path: Path, libver: Any = "earliest", **options: Any) -> bytes:
    """A file of three rows of variable length, the last larger than a heap's 4,096 bytes, and of three names."""
    rows = [np.arange(size, dtype=np.uint8) for size in (5, 200, 250)] + [np.zeros(9000, np.uint8)]
    with h5py.File(path, "w", libver=libver) as file:
        data = file.create_dataset("images", (4,), h5py.vlen_dtype(np.uint8), **options)
        for place, row in enumerate(rows):
            data[place] = row
        file.create_dataset("names", data=["a", "bb", "ccc", "dddd"], **options)
    return path.read_bytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip"}])
def test_sound_files_pass(tmp_path: Path, libver: str, options: dict[str, Any]) -> None:
    encoded(tmp_path / "a.h5", libver, **options)
    check_heaps(tmp_path / "a.h5")
    source = hdf5(tmp_path / "a.h5", labels_dataset=None, names_dataset="names")
    assert [item.name for item in source.items] == ["a", "bb", "ccc", "dddd"]
    assert [len(item.load().data) for item in source.items] == [5, 200, 250, 9000]


@pytest.mark.parametrize("size", [0, 2**64 - 16, 2**64 - 1, 2**63, 4096])
@pytest.mark.parametrize("block", [1 << 24, 7])
def test_what_would_be_walked_for_ever_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, block: int
) -> None:
    """Found by fuzzing: an object of no size. Refused alike: one that wraps around, or leaves its heap."""
    monkeypatch.setattr(hdf5_heaps, "_READ_BYTES", block)
    file = bytearray(encoded(tmp_path / "a.h5"))
    heap = file.index(b"GCOL\x01")
    struct.pack_into("<HHIQ", file, heap + 16, 0, 0, 0, size)  # the first object: free space
    (tmp_path / "a.h5").write_bytes(file)
    with pytest.raises(
        InputError, match=rf"a.h5 is no legible HDF5 file of images \(the heap at byte {heap} is damaged"
    ):
        hdf5(tmp_path / "a.h5", labels_dataset=None)


def test_other_lengths_are_refused(tmp_path: Path) -> None:
    """The layout of heaps depends on them; HDF5 files of 4-byte lengths are rare, and can be rewritten."""
    plist = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    plist.set_sizes(8, 4)
    h5py.h5f.create(bytes(tmp_path / "a.h5"), fcpl=plist).close()
    with pytest.raises(ValueError, match="rewrite it with h5repack"):
        check_heaps(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes(bytes(512) + (tmp_path / "a.h5").read_bytes())  # behind a user block
    with pytest.raises(ValueError, match="rewrite it with h5repack"):
        check_heaps(tmp_path / "b.h5")


@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}])
def test_a_string_longer_than_the_file_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    """Found by fuzzing: HDF5 would take the memory first."""
    encoded(tmp_path / "a.h5", **options)
    with h5py.File(tmp_path / "a.h5") as opened:
        names, images = dataset(opened, "names"), dataset(opened, "images")
        assert largest_claim(names) == 4 and largest_claim(images) == 9000
        data = names.id
        offset = data.get_offset() if not options else data.get_chunk_info_by_coord((2,)).byte_offset
    file = bytearray((tmp_path / "a.h5").read_bytes())
    struct.pack_into("<I", file, offset, 2**32 - 1)
    (tmp_path / "a.h5").write_bytes(file)
    with pytest.raises(InputError, match="/names claims a string of 4,294,967,295 bytes, more than the file has"):
        hdf5(tmp_path / "a.h5", labels_dataset=None, names_dataset="names")

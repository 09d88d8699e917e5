"""HDF5 files that are whole or not there, on a disk that is full too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.hdf5_write import _STRUCTURE_BYTES, bytes_of_rows, written_hdf5

MINE = b"\x89HDF\r\n\x1a\nmine"


def test_what_was_reserved_and_not_used_is_given_back(tmp_path: Path) -> None:
    values = np.arange(1000)
    with written_hdf5(tmp_path / "a.h5", largest=10**7, overwrite=False) as file:
        file["x"] = values
        assert (tmp_path / "a.h5.partial").stat().st_size > 10**7
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(np.asarray(file["x"]), values)
    assert (tmp_path / "a.h5").stat().st_size < values.nbytes + _STRUCTURE_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(MINE)
    with pytest.raises(ZeroDivisionError), written_hdf5(tmp_path / "a.h5", largest=9, overwrite=True) as file:
        file["x"] = 1 // 0
    with (
        pytest.raises(InputError, match="exists already"),
        written_hdf5(tmp_path / "a.h5", largest=9, overwrite=False),
    ):
        pass
    with (
        pytest.raises(InputError, match=r"cannot write .*none/a.h5: there is no folder"),
        written_hdf5(tmp_path / "none" / "a.h5", largest=9, overwrite=False),
    ):
        pass
    assert (tmp_path / "a.h5").read_bytes() == MINE and len(list(tmp_path.iterdir())) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([1, 7, 8, 100, 2000, 2031, 2033, 2049, 4079, 4081, 5000]), min_size=1, max_size=600))
def test_rows_of_variable_length_take_no_more_than_is_said(tmp_path_factory: pytest.TempPathFactory, sizes) -> None:
    path = tmp_path_factory.mktemp("rows") / "a.h5"
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("x", (len(sizes),), h5py.vlen_dtype(np.uint8))
        for row, size in enumerate(sizes):
            rows[row] = np.zeros(size, np.uint8)
    assert path.stat().st_size <= bytes_of_rows(len(sizes), sum(sizes)) + _STRUCTURE_BYTES


FULL = """
import resource, sys
from pathlib import Path
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.hdf5_write import written_hdf5
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with written_hdf5(Path(sys.argv[1]), largest=10**6, overwrite=False) as file:
        file["x"] = bytes(10**6)
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """Not the end of the process, which it would be for HDF5 itself; nothing is left."""
    command = [sys.executable, "-c", FULL, str(tmp_path / "a.h5")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"cannot write {tmp_path / 'a.h5'}: ") and "the disk is full" in done.stdout
    assert list(tmp_path.iterdir()) == []

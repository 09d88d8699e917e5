"""HDF5 files of others: what is read lies in the very file, and what is wrong is one sentence."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.hdf5 import Rows, dataset, open_hdf5, text, text_attribute
from sdali.pipelines.io.hdf5_write import write_text

ROWS = np.arange(24, dtype=np.int64).reshape(8, 3)


def written(path: Path, write: Callable[[h5py.File], Any]) -> Path:
    with h5py.File(path, "w") as file:
        write(file)
    return path


def read(path: Path, name: str = "rows") -> np.ndarray:
    with open_hdf5(path, "rows", "make it again") as file:
        return dataset(file, name)[()]


def read_text(path: Path) -> list[str]:
    with open_hdf5(path, "rows", "make it again") as file:
        return text(dataset(file, "names"))


@pytest.mark.parametrize("name", ["rows", "/rows", "deep/er/rows"])
@pytest.mark.parametrize("layout", [{}, {"chunks": (2, 3), "compression": "gzip"}, {"compression": "lzf"}])
def test_a_dataset_comes_back(tmp_path: Path, name: str, layout: dict[str, Any]) -> None:
    """Contiguous or chunked, compressed or not, at the top or in groups."""
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset(name, data=ROWS, **layout))
    np.testing.assert_array_equal(read(path, name), ROWS)


def test_what_compresses_well_is_no_bomb(tmp_path: Path) -> None:
    """80 MB of zeros take the most that deflate can save, and are read; so are small ones and an empty list."""
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("rows", data=np.zeros(10**7), compression=9))
    assert path.stat().st_size < 200_000 and not read(path).any()
    written(path, lambda file: file.create_dataset("rows", data=np.zeros(0)))
    assert read(path).shape == (0,)


@pytest.mark.parametrize("values", [["猫", "dog", ""], np.array([b"cat", b"dog"])])
def test_strings_of_both_kinds_come_back(tmp_path: Path, values: Any) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("names", data=values))
    assert read_text(path) == [value if isinstance(value, str) else value.decode() for value in values]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (np.arange(3), r"/names is no list of strings, but int64 \[3\]"),
        (np.array([[b"a"], [b"b"]]), r"no list of strings, but strings \[2, 1\]"),
        (np.array([b"a\0b"]), "/names has strings with zero bytes inside"),
    ],
)
def test_what_is_no_list_of_strings_is_refused(tmp_path: Path, values: np.ndarray, sentence: str) -> None:
    path = written(tmp_path / "a.h5", lambda file: file.create_dataset("names", data=values))
    with pytest.raises(InputError, match=sentence):
        read_text(path)


def test_written_text_comes_back(tmp_path: Path) -> None:
    """Also names of files that are no UTF-8, and no names at all."""
    for values in (["猫", "", os.fsdecode(b"caf\xe9.jpg")], []):
        assert read_text(written(tmp_path / "a.h5", lambda file, v=values: write_text(file, "names", v))) == values


def test_only_a_single_string_is_a_text_attribute(tmp_path: Path) -> None:
    def write(file: h5py.File) -> None:
        file.attrs.update({"a": "ä", "number": 3, "list": ["a", "b"], "none": h5py.Empty("f")})

    with open_hdf5(written(tmp_path / "a.h5", write), "rows", "") as file:
        assert text_attribute(file, "a") == "ä"
        assert [text_attribute(file, name) for name in ("number", "list", "none", "missing")] == [None] * 4


def linked(file: h5py.File) -> None:
    """Every way out of a file, each to a dataset that could be read."""
    file["true/rows"] = ROWS
    file["external"] = h5py.ExternalLink("other.h5", "rows")
    file["soft"] = h5py.SoftLink("/true/rows")
    file["soft_external"] = h5py.SoftLink("/external")
    file["group"] = h5py.ExternalLink("other.h5", "/")
    file["soft_group"] = h5py.SoftLink("/true")
    folder = Path(file.filename).parent
    file.create_dataset("raw", data=ROWS, external=[(str(folder / "rows.bin"), 0, ROWS.nbytes)])
    layout = h5py.VirtualLayout(ROWS.shape, ROWS.dtype)
    layout[:] = h5py.VirtualSource(str(folder / "other.h5"), "rows", ROWS.shape)
    file.create_virtual_dataset("virtual", layout)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("external", "no dataset external of its own, only raw, true, virtual"),
        ("soft", "no dataset soft of its own"),
        ("soft_external", "no dataset soft_external of its own"),
        ("group/rows", "no dataset group/rows of its own"),
        ("soft_group/rows", "no dataset soft_group/rows of its own"),
        ("raw", "raw is kept in other files"),
        ("virtual", "virtual is kept in other files"),
    ],
)
def test_what_leads_out_of_the_file_is_refused(tmp_path: Path, name: str, sentence: str) -> None:
    """h5py itself reads each of these; here the file is closed in itself, links along the path included."""
    written(tmp_path / "other.h5", lambda file: file.create_dataset("rows", data=ROWS))
    path = written(tmp_path / "a.h5", linked)
    with h5py.File(path, "r") as file:
        np.testing.assert_array_equal(np.asarray(file[name]), ROWS)
    with pytest.raises(InputError, match=f"a.h5 is no legible HDF5 file of rows .*{sentence}.*; make it again"):
        read(path, name)


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda file: file.create_group("rows"), "rows is no dataset"),
        (lambda file: file.create_dataset("rows/below", data=1), "rows is no dataset"),
        (lambda file: file.create_dataset("labels", data=1), "no dataset rows of its own, only labels"),
        (lambda file: None, r"no dataset rows of its own\)"),
        (lambda file: file.create_dataset("rows", data=h5py.Empty("f")), "the dataset rows is empty"),
        (lambda file: file.create_dataset("rows", (9,), "i8"), "rows was never written"),
    ],
)
def test_what_is_no_dataset_with_values_is_refused(
    tmp_path: Path, write: Callable[[h5py.File], Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=f"a.h5 .*{sentence}"):
        read(written(tmp_path / "a.h5", write))


def test_a_claim_is_checked_before_memory_is_taken(tmp_path: Path) -> None:
    """10^12 rows in a file of a few kilobytes: refused, the process no larger than before."""

    def write(file: h5py.File) -> None:
        file.create_dataset("rows", (10**12,), "i8", chunks=(1000,), compression="gzip")[:5] = 1

    path = written(tmp_path / "a.h5", write)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"rows claims 8,000,000,000,000 bytes, but stores \d{2,3}\)"):
        read(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_files_that_are_no_hdf5_are_refused(tmp_path: Path) -> None:
    """Missing, empty, text, a folder, a pipe, and any part of a sound file."""
    sound = written(tmp_path / "sound.h5", lambda file: file.create_dataset("rows", data=ROWS)).read_bytes()
    (tmp_path / "empty.h5").touch()
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(InputError, match=r"none.h5 does not exist; make it again"):
        read(tmp_path / "none.h5")
    for name in ("empty", "text", "folder", "pipe"):
        with pytest.raises(InputError, match=f"{name}.h5 is no legible HDF5 file of rows .*; make it again"):
            read(tmp_path / f"{name}.h5")
    for length in range(1, len(sound), 97):
        (tmp_path / "cut.h5").write_bytes(sound[:length])
        with pytest.raises(InputError, match=r"cut.h5 is no legible HDF5"):
            read(tmp_path / "cut.h5")


def test_our_own_sentences_pass_unchanged(tmp_path: Path) -> None:
    path = written(tmp_path / "a.h5", lambda file: None)
    with pytest.raises(InputError, match=r"^as it is$"), open_hdf5(path, "rows", "make it again"):
        raise InputError("as it is")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("options", [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip"}])
def test_rows_of_variable_length_come_back(tmp_path: Path, libver: str, options: dict[str, Any]) -> None:
    """Bytes, the last row larger than one of HDF5's heaps (4,096 bytes), and names."""
    values = [np.arange(size, dtype=np.uint8) for size in (5, 200, 250)] + [np.zeros(9000, np.uint8)]
    with h5py.File(tmp_path / "a.h5", "w", libver=libver) as file:
        data = file.create_dataset("images", (4,), h5py.vlen_dtype(np.uint8), **options)
        for row, value in enumerate(values):
            data[row] = value
        file.create_dataset("names", data=["a", "bb", "ccc", "dddd"], **options)
    with open_hdf5(tmp_path / "a.h5", "images", "make it again") as file:
        rows = Rows(dataset(file, "images"))
        assert [rows[row].tobytes() for row in range(4)] == [value.tobytes() for value in values]
        assert text(dataset(file, "names")) == ["a", "bb", "ccc", "dddd"]

"""Reading HDF5 files that others made: nothing outside the very file, and no more memory than it holds data for.

A file can lead elsewhere (external and soft links, external storage, virtual datasets), claim any size, and hold
references or pickled objects. The first are refused along the whole path, sizes are compared with the bytes that are
stored, and only numbers and text are read. What is wrong is raised as a ValueError with a reason; `open_hdf5` makes one
sentence of it, and of all that h5py itself raises.

`Rows` reads a dataset row by row on many threads. HDF5 decompresses a whole chunk to hand out one row of it, so the
rows of a chunk are read together, and the last two such blocks are kept: enough for threads that ask in ascending
order, whose requests are a few rows apart. h5py lets one thread in at a time, so a lock around a read costs nothing.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError
from .input_files import open_input

UNQUESTIONED_BYTES = 1 << 26  # our choice: what a dataset may claim without having it stored
LARGEST_RATIO = 1032  # of deflate, a bound of its format
BLOCK_BYTES = 1 << 28  # our choice: larger chunks are kept in parts, and decompressed once for each part
LARGEST_CHUNK = 1 << 30  # our choice: bytes that HDF5 takes to hand out a single row
_BLOCKS_KEPT = 2

H5PY_ERRORS = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError)


@contextmanager
def open_hdf5(path: Path, kind: str, again: str) -> Iterator[h5py.File]:
    """The file, open for reading; what is raised inside becomes an InputError, so do nothing there but read it.

    `kind`: what it should hold, "a confusion matrix"; `again`: what to do about a file that cannot be used.
    """
    with hdf5_errors(path, kind, again), opened(path) as file:
        yield file


def opened(path: Path) -> h5py.File:
    """The file, open for reading until it is closed or forgotten; use it inside `hdf5_errors`."""
    open_input(path).close()  # refuses what is no regular file, such as a pipe, which h5py would wait for
    return h5py.File(path, "r")


@contextmanager
def hdf5_errors(path: Path, kind: str, again: str) -> Iterator[None]:
    """Turn what reading an open file raises into an InputError, as `open_hdf5` does."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; {again}") from None
    except H5PY_ERRORS as error:
        raise InputError(f"{path} is no legible HDF5 file of {kind} ({_reason_of(error)}); {again}") from None


def _reason_of(error: BaseException) -> str:
    """What h5py says, on one line."""
    reason = error.strerror if isinstance(error, OSError) else None
    return " ".join(str(reason or (error.args[0] if error.args else error)).split())


def dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """The dataset "labels" or "train/labels" of this very file, with a shape and with stored values.

    Raises ValueError for what is missing, a group, reached through a link, kept in other files, or not wholly written
    (for a chunk that a stopped writer never wrote, HDF5 gives zeros), and for one that claims more than 64 MiB and more
    than 1,032 times the bytes that are stored.
    """
    found: object = file
    for part in filter(None, name.split("/")):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"it has no dataset {name} of its own{_what_there_is(file)}")
        found = found[part]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{name} is no dataset")
    # Before the shape is asked for: that of a virtual dataset may lie in other files.
    if found.is_virtual or found.external:
        raise ValueError(f"the dataset {name} is kept in other files")
    if found.shape is None:
        raise ValueError(f"the dataset {name} is empty")
    stored = found.id.get_storage_size()
    if found.size and not stored:
        raise ValueError(f"the dataset {name} was never written")
    if found.nbytes > max(UNQUESTIONED_BYTES, LARGEST_RATIO * stored):
        raise ValueError(f"the dataset {name} claims {found.nbytes:,} bytes, but stores {stored:,}")
    if found.chunks:
        wanted = math.prod(-(-length // chunk) for length, chunk in zip(found.shape, found.chunks, strict=True))
        if (written := found.id.get_num_chunks()) < wanted:
            raise ValueError(f"of the {wanted:,} chunks of the dataset {name} only {written:,} were written")
    return found


def text(data: h5py.Dataset) -> list[str]:
    """All strings of a dataset [N], of fixed or variable length; what is no UTF-8 becomes surrogates, as in file names.

    Raises ValueError for other values, and for a string with a zero byte inside.
    """
    if h5py.check_string_dtype(data.dtype) is None or data.ndim != 1:
        raise ValueError(f"{data.name} is no list of strings, but {form(data)}")
    values = [value.decode("utf-8", "surrogateescape") for value in data[()]]
    if any("\0" in value for value in values):
        raise ValueError(f"{data.name} has strings with zero bytes inside")
    return values


def text_attribute(file: h5py.File, name: str) -> str | None:
    """An attribute of the file that is one string; None where there is none of that name, or it is anything else."""
    if name not in file.attrs:
        return None
    attribute = file.attrs.get_id(name)
    value = file.attrs[name] if attribute.shape == () and h5py.check_string_dtype(attribute.dtype) else None
    return value if isinstance(value, str) else None


def form(data: h5py.Dataset) -> str:
    """What a dataset holds, for messages: "int64 [9]", "variable-length uint8 [9]", "strings [9]"."""
    element = h5py.check_vlen_dtype(data.dtype)
    kind = (
        "strings" if h5py.check_string_dtype(data.dtype)
        else "references" if h5py.check_ref_dtype(data.dtype)
        else f"variable-length {element}" if element
        else data.dtype
    )  # fmt: skip
    return f"{kind} {list(data.shape)}"


def _what_there_is(file: h5py.File) -> str:
    """What the file has in place of a name that it lacks, which may just be misspelt: ", only images, labels"."""
    names = [name for name in map(str, file) if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    return f", only {', '.join(names[:5])}{', ...' * (len(names) > 5)}" if names else ""


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
        """A view of row `row`; raises InputError "cannot be read: ..." where its bytes are damaged."""
        number, within = divmod(row, self._step)
        with self._lock:
            if number not in self._blocks:
                if len(self._blocks) == _BLOCKS_KEPT:
                    del self._blocks[next(iter(self._blocks))]
                self._blocks[number] = self._read(number * self._step)
            return self._blocks[number][within]

    def _read(self, start: int) -> np.ndarray:
        try:
            return self._data[start : start + self._step]
        except H5PY_ERRORS as error:
            raise InputError(f"cannot be read: {_reason_of(error)}") from None


def _rows_a_block(data: h5py.Dataset) -> int:
    """Rows of a chunk, or as many as BLOCK_BYTES hold; one where nothing is gained, or their size is not known."""
    row_bytes = math.prod(data.shape[1:]) * data.dtype.itemsize
    if not data.chunks or data.dtype.hasobject or not row_bytes:
        return 1
    return max(1, min(data.chunks[0], BLOCK_BYTES // row_bytes))

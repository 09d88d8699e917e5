"""The global heaps of an HDF5 file, which hold all that is of variable length, checked before HDF5 walks through them.

HDF5 (2.0) goes from object to object by sizes in the file. One of no size, which a few zero bytes make, and it stays
there for ever, where no signal reaches Python. A heap is found by its signature, wherever in the file, because anything
there may refer to it. So the file is read once, at the speed of the disk.

What is left of a hostile file: HDF5 takes as many bytes for a row as its reference claims, up to 4 GiB, before it looks
into the heap. References behind filters (compressed ones), or beside a dataset's header, are not seen here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from .input_files import open_input

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01"
_HEAP_BYTES, _OBJECT_BYTES = 16, 16  # of their headers, where lengths have 8 bytes
_REFERENCE_BYTES = 16  # 4 of them the length of what is referred to
_SMALLEST_HEAP = 4096  # smaller ones HDF5 refuses itself, as it does those that reach beyond the file
_READ_BYTES = 1 << 24


def check_heaps(path: Path) -> None:
    """Raise ValueError for a heap that cannot be walked through, or for a file that counts in other than 8 bytes."""
    with open_input(path) as file:
        size = os.fstat(file.fileno()).st_size
        _check_lengths(file, size)
        for place in _places(file):
            _check_heap(file, place, size)


def largest_claim(data: h5py.Dataset) -> int:
    """Items that the longest row of variable length says it has; 0 where references are not stored plain."""
    blocks = [(data.id.get_offset(), data.id.get_storage_size())]
    if data.chunks:
        blocks = []
        if not data.id.get_create_plist().get_nfilters():
            data.id.chunk_iter(lambda chunk: blocks.append((chunk.byte_offset, chunk.size)))
    return max((_largest(data.file, *block) for block in blocks if block[0] is not None), default=0)


def _largest(file: Any, offset: int, size: int) -> int:
    block = np.frombuffer(os.pread(file.id.get_vfd_handle(), size, offset), np.uint8)
    references = block[: len(block) // _REFERENCE_BYTES * _REFERENCE_BYTES].reshape(-1, _REFERENCE_BYTES)
    return int(np.ascontiguousarray(references[:, :4]).view("<u4").max(initial=0))


def _check_lengths(file: IO[bytes], size: int) -> None:
    """The first superblock counts: at 0, 512, 1024, 2048, ..."""
    place = 0
    while place < size:
        head = os.pread(file.fileno(), 16, place)
        if head.startswith(_HDF5):
            lengths = head[14:15] if head[8:9] < b"\x02" else head[10:11]
            if lengths != b"\x08":
                raise ValueError("its lengths have not 8 bytes; rewrite it with h5repack")
            return
        place = 2 * place or 512


def _places(file: IO[bytes]) -> Iterator[int]:
    """Where a heap may begin, ascending."""
    start, rest = 0, b""
    while read := file.read(_READ_BYTES):
        block = rest + read
        place = block.find(_HEAP)
        while place >= 0:
            yield start - len(rest) + place
            place = block.find(_HEAP, place + 1)
        start, rest = start + len(read), block[1 - len(_HEAP) :]


def _check_heap(file: IO[bytes], place: int, file_bytes: int) -> None:
    heap_bytes = int.from_bytes(os.pread(file.fileno(), 8, place + 8), "little")
    if not _SMALLEST_HEAP <= heap_bytes <= file_bytes - place:
        return
    begin, end = place + _HEAP_BYTES, place + heap_bytes
    while begin + _OBJECT_BYTES <= end:
        head = os.pread(file.fileno(), _OBJECT_BYTES, begin)
        size = int.from_bytes(head[8:], "little")
        taken = _OBJECT_BYTES + (size + 7) // 8 * 8 if any(head[:2]) else size  # object 0 is what is free
        if not _OBJECT_BYTES <= taken <= end - begin:
            raise ValueError(f"the heap at byte {place} is damaged")
        begin += taken

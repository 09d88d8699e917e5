"""The WebDataset source: tar files (shards) in which files of one name, side by side, are a sample: 1.jpg and 1.cls.

Where each image lies is read from the headers once; images are read when their turn comes, and nothing is unpacked.
"""

from __future__ import annotations

import os
import re
import tarfile
from array import array
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..io.input_files import open_input
from .class_names import names_in, numbered
from .folder import EXTENSIONS
from .source import LazyItems, Loaded, Source, SourceItem, natural_key

MOST_BYTES = 256 << 20  # of an image, as from HDF5
# As the webdataset package splits names: the folders may have dots, the rest ends at its first.
_PARTS = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
# What tarfile raises for headers that no tar program wrote.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, MemoryError, RecursionError)


def webdataset(path: str | Path, *, class_names: str | Path | None = None) -> Source:
    """A tar file, or all *.tar of a folder in natural order; not compressed ones, in which nothing can be sought.

    Of a sample's files one is the image (.jpg, .png, ...), and .cls, where there is one, its class: an integer as text,
    -1 for none. All others are left out. An image is called SHARD/NAME, so that shards may repeat names.
    `class_names`: a file of the classes, one a line in the order of the integers; None: "0", "1", ... to the largest.
    Raises InputError for what is missing or no tar file, damaged, or cut off, for a sample of several images, a name
    that repeats in a shard, and a class that is no integer or beyond the names.
    """
    shards = _shards(Path(path))
    items = _Items(shards)
    if not len(items):
        raise InputError(f"{path} has no samples; they are files like 0001.jpg and 0001.cls in a tar file")
    classes = _classes(items, None if class_names is None else names_in(class_names), class_names)
    return Source(classes, items, description=f"webdataset {path}")


class _File(NamedTuple):
    """One in a shard: its sample, its ending in small letters, where its bytes lie, and the class that it states."""

    sample: str
    ending: str
    first: int
    bytes: int
    label: int | None


class _Items(LazyItems):
    """Images by where they lie: shard, first byte, bytes (-1: the sample has none)."""

    def __init__(self, shards: list[Path]) -> None:
        self._shards, self._names = shards, list[str]()
        self.labels, self._shard, self._first, self._bytes = array("q"), array("q"), array("q"), array("q")
        for number, shard in enumerate(shards):
            seen = set[str]()
            for name, files in groupby(_files(shard), key=lambda file: file.sample):
                if name in seen:
                    raise InputError(f"{shard} has files of {name} in two places; put a sample's files side by side")
                seen.add(name)
                self._add(number, name, list(files))

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> SourceItem:
        shard, first, size = self._shards[self._shard[index]], self._first[index], self._bytes[index]

        def load() -> Loaded:
            if size < 0:
                raise InputError("has no image (.jpg, .png, ...) among its files")
            with open_input(shard) as file:
                data = os.pread(file.fileno(), size, first)
            if len(data) != size:
                raise InputError(f"is cut off: {shard} has changed while it was read")
            return Loaded(data)

        return SourceItem(self._names[index], self.labels[index], load)

    def _add(self, number: int, name: str, files: list[_File]) -> None:
        shard = self._shards[number]
        images = [file for file in files if f".{file.ending}" in EXTENSIONS]
        if len(images) > 1:
            raise InputError(f"{shard} has {len(images)} images of {name} (.{images[0].ending}, .{images[1].ending})")
        _, ending, first, size, _ = images[0] if images else _File(name, "", 0, -1, None)
        if size > MOST_BYTES:
            raise InputError(f"{shard} has {size:,} bytes in {name}.{ending}; an image may have {MOST_BYTES:,}")
        self._names.append(f"{shard.stem}/{name}.{ending}" if images else f"{shard.stem}/{name}")
        self.labels.append(next((file.label for file in files if file.label is not None), -1))
        self._shard.append(number)
        self._first.append(first)
        self._bytes.append(size)


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names = sorted((entry.name for entry in path.iterdir() if entry.name.endswith(".tar")), key=natural_key)
    if not names:
        raise InputError(f"{path} has no tar files (*.tar; compressed ones are to be decompressed first)")
    return [path / name for name in names]


def _files(shard: Path) -> Iterator[_File]:
    """Those of a shard, in its order, without folders and what begins with two underscores, which webdataset skips."""
    try:
        with open_input(shard) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            length, before = os.fstat(file.fileno()).st_size, -1
            while (member := tar.next()) is not None:
                tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - tarfile would keep them all
                if member.offset <= before or member.offset_data + member.size > length:
                    raise tarfile.ReadError("a file reaches beyond its end")
                before, name = member.offset, member.name.removeprefix("./")
                parts = _PARTS.fullmatch(name)
                if parts is None or member.isdir() or name.rpartition("/")[2].startswith("__"):
                    continue
                if not member.isreg() or member.issparse():
                    raise InputError(f"{shard} has {name}, a link or sparse file; write the file itself")
                ending = parts[2].lower()
                label = _label(shard, tar, member) if ending == "cls" else None
                yield _File(parts[1], ending, member.offset_data, member.size, label)
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"cannot read {shard}: {error.strerror or error}; name a tar file, or a folder of them"
        ) from None
    except _DAMAGE as error:
        raise InputError(
            f"{shard} is damaged, cut off or no plain tar file ({error}); write it again, uncompressed"
        ) from None


def _label(shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = tar.extractfile(member)
    text = b"" if file is None or member.size > 32 else file.read().strip()
    if not re.fullmatch(rb"-1|[0-9]{1,18}", text):
        raise InputError(f"{shard} has a class in {member.name} that is no integer from -1 up; write it as text")
    return int(text)


def _classes(items: _Items, names: list[str] | None, file: str | Path | None) -> tuple[str, ...]:
    largest = max(items.labels)
    where = items[items.labels.index(largest)].name
    if names is None:
        return numbered(largest, f"class {largest} of {where}")
    if largest >= len(names):
        raise InputError(f"class {largest} of {where} is outside the {len(names)} classes that {file} names")
    return tuple(names)

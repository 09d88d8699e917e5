"""The format webdataset: tar files (shards) in which files of one name, side by side, are a sample: 1.jpg and 1.cls.

The headers are read once, to find where each image begins; images are read when their turn comes, nothing is unpacked.
Compressed tar files are refused, because images in them cannot be read by position.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from ..io.input_files import open_input
from .folder import EXTENSIONS
from .registry import source_format
from .source import LazyItems, Loaded, Source, SourceItem, checked_names, names_in, natural_key

MOST_BYTES = 256 << 20  # of an image, as from HDF5
# As the webdataset package splits names: the folders may have dots, the rest ends at its first.
_PARTS = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
# What tarfile raises for headers that no tar program wrote.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, MemoryError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class WebdatasetOptions:
    """An uncompressed tar file of images and classes (0001.jpg, 0001.cls), or a folder of such files (*.tar)."""

    class_names: Path | None = None
    """A text file of the classes, one a line in the order of the integers in .cls. None: "0", "1", ..."""


@source_format("webdataset", WebdatasetOptions)
def webdataset(path: str | Path, options: WebdatasetOptions) -> Source:
    """The samples of a tar file, or of all *.tar of a folder in natural order; see WebdatasetOptions.

    One file of a sample is the image (.jpg, .png, ...), and .cls, where there is one, its class: an integer as text, -1
    for none. All other files are left out. An image is called SHARD/NAME, since shards may repeat names.
    Raises InputError for files that are missing, not tar files, damaged, or cut off, for a sample of several images, a
    name that repeats in a shard, and a class that is no integer or beyond the names.
    """
    samples = [sample for shard in _shards(Path(path)) for sample in _samples(shard)]
    if not samples:
        raise InputError(f"{path} has no samples; a sample is files such as 0001.jpg and 0001.cls in a tar file")

    def item(index: int) -> SourceItem:
        sample = samples[index]

        def load() -> Loaded:
            if sample.size < 0:
                raise InputError("has no image (.jpg, .png, ...) among its files")
            with open_input(sample.shard) as file:
                data = os.pread(file.fileno(), sample.size, sample.first)
            if len(data) != sample.size:
                raise InputError(f"is cut off: {sample.shard} has changed while it was read")
            return Loaded(data)

        return SourceItem(sample.name, sample.label, load)

    largest = max(samples, key=lambda sample: sample.label)
    names = None if options.class_names is None else names_in(options.class_names)
    where = f"class {largest.label} of {largest.name}"
    classes = checked_names(largest.label, where, names, options.class_names)
    return Source(classes, LazyItems(len(samples), item), description=f"webdataset {path}")


class _Sample(NamedTuple):
    """The name of a sample's image, its class, and where the image lies: shard, first byte, bytes (-1: no image)."""

    name: str
    label: int
    shard: Path
    first: int
    size: int


class _File(NamedTuple):
    """A file in a shard: its sample, its ending in lower case, its first byte in the shard, its bytes, and the class
    that it states, if it is a .cls.
    """

    sample: str
    ending: str
    first: int
    size: int
    label: int | None


def _samples(shard: Path) -> Iterator[_Sample]:
    """The samples of a shard, in its order."""
    seen = set[str]()
    for name, group in groupby(_files(shard), key=lambda file: file.sample):
        if name in seen:
            raise InputError(f"{shard} has files of {name} that are not side by side; write a sample's files together")
        seen.add(name)
        files = list(group)
        label = next((file.label for file in files if file.label is not None), -1)
        images = [file for file in files if f".{file.ending}" in EXTENSIONS]
        if len(images) > 1:
            raise InputError(f"{shard} has {len(images)} images of {name} (.{images[0].ending}, .{images[1].ending})")
        for _, ending, first, size, _ in images:
            if size > MOST_BYTES:
                raise InputError(f"{shard} has {size:,} bytes in {name}.{ending}; {MOST_BYTES:,} are allowed")
            yield _Sample(f"{shard.stem}/{name}.{ending}", label, shard, first, size)
        if not images:
            yield _Sample(f"{shard.stem}/{name}", label, shard, 0, -1)


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names = sorted((entry.name for entry in path.iterdir() if entry.name.endswith(".tar")), key=natural_key)
    if not names:
        raise InputError(f"{path} has no tar files (*.tar); decompress compressed ones")
    return [path / name for name in names]


def _files(shard: Path) -> Iterator[_File]:
    """The files of a shard, in its order, without folders and names that begin with "__", which webdataset skips."""
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
        reason = error.strerror or error
        raise InputError(f"cannot read {shard}: {reason}; name a tar file, or a folder of them") from None
    except _DAMAGE as error:
        raise InputError(f"{shard} is damaged, cut off or not a plain tar file ({error}); write it again") from None


def _label(shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    file = tar.extractfile(member)
    text = b"" if file is None or member.size > 32 else file.read().strip()
    if not re.fullmatch(rb"-1|[0-9]{1,18}", text):
        raise InputError(f"{shard} has a class in {member.name} that is no integer from -1 up; write it as text")
    return int(text)

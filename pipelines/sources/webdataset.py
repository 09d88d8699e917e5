"""The format webdataset: tar files (shards) in which files of one name, side by side, are a sample: 1.jpg and 1.cls.

The headers are read once, to find where each image begins; images are read when their turn comes, nothing is unpacked.
Compressed tar files are refused, because images in them cannot be read by position. A shard is read to its last byte,
so a damaged header is no end of it; archives one behind the other (`cat a.tar b.tar`) are one shard.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import IO, NamedTuple

from ..errors import InputError
from ..io.input_files import open_input
from .folder import EXTENSIONS
from .registry import source_format
from .source import LazyItems, LeftOut, Loaded, Source, SourceItem, checked_names, names_in, natural_key

MOST_BYTES = 256 << 20  # of an image, as from HDF5
# As the webdataset package splits names: the folders may have dots, the rest ends at its first.
_NAMED_IMAGE = re.compile(rf"(img|image|input)({'|'.join(map(re.escape, EXTENSIONS))})")
_PARTS = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")
# What tarfile raises for headers that no tar program wrote.
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, EOFError, MemoryError, RecursionError)
_ReadError, _HeaderError = tarfile.ReadError, tarfile.HeaderError
_BLOCK = 512
_MOST_ZEROS = 1 << 16  # our choice: tar programs end a file with 10,240 at most, unless asked for longer blocks


@dataclass(frozen=True, kw_only=True)
class WebdatasetOptions:
    """An uncompressed tar file of images and classes (0001.jpg, 0001.cls), or a folder of such files (*.tar)."""

    class_names: Path | None = None
    """A text file of the classes, one a line in the order of the integers in .cls. None: "0", "1", ..."""


@source_format("webdataset", WebdatasetOptions)
def webdataset(path: str | Path, options: WebdatasetOptions) -> Source:
    """The samples of a tar file, or of all *.tar of a folder in natural order; see WebdatasetOptions.

    One file of a sample is the image (.jpg, .png, ..., else .img.jpg, .image.jpg or .input.jpg), and .cls, where there
    is one, its class: an integer as text, -1 for none. All other files are left out and counted. An image is called
    SHARD/NAME, since shards may repeat names.
    Raises InputError for files that are missing, not tar files, damaged, or cut off, for a sample of several images, a
    name that repeats in a shard, and a class that is no integer or beyond the names.
    """
    left_out = LeftOut()
    samples = [sample for shard in _shards(Path(path), left_out) for sample in _samples(shard, left_out)]
    if not samples:
        raise InputError(f"{path} has no samples; a sample is files such as 0001.jpg and 0001.cls in a tar file")

    def item(index: int) -> SourceItem:
        sample = samples[index]

        def load() -> Loaded:
            if sample.size < 0:
                raise InputError("has no image (NAME.jpg, NAME.png, ...) among its files")
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
    return Source(classes, LazyItems(len(samples), item), description=f"webdataset {path}", left_out=left_out)


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


def _samples(shard: Path, left_out: LeftOut) -> Iterator[_Sample]:
    """The samples of a shard, in its order."""
    seen = set[str]()
    for name, group in groupby(_files(shard, left_out), key=lambda file: file.sample):
        if name in seen:
            raise InputError(f"{shard} has files of {name} that are not side by side; write a sample's files together")
        seen.add(name)
        files = list(group)
        labels = [file.label for file in files if file.label is not None]
        if len(labels) > 1:  # as of an archive to which a changed file was appended
            raise InputError(f"{shard} has {len(labels)} classes of {name}; write the shard again with one")
        images = [file for file in files if f".{file.ending}" in EXTENSIONS]
        images = images or [file for file in files if _NAMED_IMAGE.fullmatch(file.ending)]
        for file in files:
            if file not in images and file.ending != "cls":
                left_out.add(f"files that end in .{file.ending}", f"{shard.stem}/{name}.{file.ending}")
        if len(images) > 1:
            raise InputError(f"{shard} has {len(images)} images of {name} (.{images[0].ending}, .{images[1].ending})")
        for _, ending, first, size, _ in images:
            if size > MOST_BYTES:
                raise InputError(f"{shard} has {size:,} bytes in {name}.{ending}; {MOST_BYTES:,} are allowed")
            yield _Sample(f"{shard.stem}/{name}.{ending}", (labels or [-1])[0], shard, first, size)
        if not images:
            yield _Sample(f"{shard.stem}/{name}", (labels or [-1])[0], shard, 0, -1)


def _shards(path: Path, left_out: LeftOut) -> list[Path]:
    """The tar file, or those of the folder itself; all else below it is counted in `left_out`."""
    if not path.is_dir():
        return [path]

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot read the folder {error.filename}: {error.strerror}; allow it, or move it away")

    names = []
    for folder, _, files in os.walk(path, onerror=refuse):
        for file in files:
            name = os.path.relpath(os.path.join(folder, file), path)
            if "/" in name and name.lower().endswith(".tar") and not _is_hidden(name):
                left_out.add("shards in sub-folders", name)
            elif name.lower().endswith(".tar") and not _is_hidden(name):
                names.append(name)
            else:
                left_out.add_file(name)
    if not names:
        others = ", ".join(name for kind in left_out.report().values() for name in kind["examples"])
        hint = f"decompress compressed ones, and name the folder that has them itself (it has {others or 'nothing'})"
        raise InputError(f"{path} has no tar files (*.tar); {hint}")
    return [path / name for name in sorted(names, key=natural_key)]


def _files(shard: Path, left_out: LeftOut) -> Iterator[_File]:
    """The files of a shard, in its order, without folders, hidden files and names that begin with "__", which
    webdataset skips.
    """
    for tar, member in _members(shard):
        name = member.name.removeprefix("./")
        parts = _PARTS.fullmatch(name)
        if member.isdir():
            continue
        if parts is None or _is_hidden(name) or name.rpartition("/")[2].startswith("__"):
            left_out.add_file(f"{shard.stem}/{name}")
            continue
        if not member.isreg() or member.issparse():
            raise InputError(f"{shard} has {name}, a link or sparse file; write the file itself")
        ending = parts[2].lower()
        yield _File(parts[1], ending, member.offset_data, member.size, _label(shard, tar, member, ending))


def _members(shard: Path) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    """Everything in a shard with its archive, to the last byte; several archives, one behind the other, are read on."""
    try:
        with open_input(shard) as file:
            length, begin = os.fstat(file.fileno()).st_size, 0
            while begin < length or not begin:
                file.seek(begin)
                with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
                    before = -1
                    while (member := tar.next()) is not None:
                        tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - tarfile would keep them all
                        if member.offset <= before or member.offset_data + member.size > length:
                            raise tarfile.ReadError("a file reaches beyond its end")
                        before = member.offset
                        yield tar, member
                    begin = _end_of_zeros(file, tar.offset)
    except InputError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot read {shard}: {reason}; name a tar file, or a folder of them") from None
    except _DAMAGE as error:
        raise InputError(f"{shard} is damaged, cut off or not a plain tar file ({error}); write it again") from None


class _Header(tarfile.TarInfo):
    """Reads a header as tarfile does, but takes nothing for the end of the archive except a block of zeros.

    tarfile takes whatever it cannot read for the end, and leaves out records of pax headers from the first damaged one
    on: half of the samples, and no error.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> tarfile.TarInfo:
        file = tarfile.fileobj
        assert file is not None
        begin = file.tell()
        try:
            member = super().fromtarfile(tarfile)
        except _HeaderError as error:
            file.seek(begin)
            if file.read(_BLOCK) == bytes(_BLOCK):
                raise
            raise _ReadError(f"no header at byte {begin:,}: {error}") from None
        resume = file.tell()
        file.seek(begin)
        block = file.read(_BLOCK)
        if block[156:157] in (b"x", b"g", b"X"):
            _check_pax(file.read(int(block[124:136].strip(b"\0 ") or b"0", 8)), begin)
        file.seek(resume)
        return member


def _check_pax(records: bytes, begin: int) -> None:
    """Raise ReadError unless these are whole records, "LENGTH KEY=VALUE" and a line end each."""
    at = 0
    while at < len(records):
        match = re.compile(rb"([0-9]{1,10}) [^=\n]+=").match(records, at)
        end = at + int(match[1]) if match else 0
        if not match or end < match.end() + 1 or records[end - 1 : end] != b"\n":
            raise _ReadError(f"the pax header at byte {begin:,} is damaged")
        at = end


def _end_of_zeros(file: IO[bytes], begin: int) -> int:
    """Where the first block that is not all zeros begins, from the block `begin` on, or the file's length.

    Raises ReadError for less than the two blocks of zeros that end an archive, and for so many at the end of the file
    that something is missing there.
    """
    file.seek(begin)
    at = begin
    while chunk := file.read(1 << 20):
        if rest := len(chunk.lstrip(b"\0")):
            at += (len(chunk) - rest) // _BLOCK * _BLOCK
            break
        at += len(chunk)
    if at - begin < 2 * _BLOCK:
        raise _ReadError(f"no end of the archive at byte {begin:,}")
    if not chunk and at - begin > _MOST_ZEROS:
        raise _ReadError(f"nothing but zeros from byte {begin:,} to {at:,}")
    return at


def _is_hidden(name: str) -> bool:
    """As in folders: "._1.jpg" of macOS is no image, and neither is what lies in a folder like ".cache"."""
    return any(part.startswith(".") for part in name.split("/"))


def _label(shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> int | None:
    """The class that a .cls states; None for any other file."""
    if ending != "cls":
        return None
    file = tar.extractfile(member)
    text = b"" if file is None or member.size > 32 else file.read().strip()
    if not re.fullmatch(rb"-1|[0-9]{1,18}", text):
        raise InputError(f"{shard} has a class in {member.name} that is no integer from -1 up; write it as text")
    return int(text)

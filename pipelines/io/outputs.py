"""Where results may be written: one rule, so that a slip in a command line destroys nothing.

An output is a new file, an empty one, or takes the place of one of its own kind that sdali wrote; stores and HDF5 files
do so only where --overwrite is passed. It is never an input of the same command, another output of it, a link, a
folder, a pipe or a device; only /dev/null takes what is written at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..store import format as store_format
from ..store.lmdb_pages import MAGIC
from ..store.lmdb_read import mapped_file

PNG_MARK = b"tEXtSoftware\0sdali"  # a chunk near the beginning of every PNG that sdali writes
_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 4096


class Kind(NamedTuple):
    """What is written: its name for people, whether a file is one, whether only --overwrite replaces it."""

    name: str
    is_at: Callable[[Path], bool]
    flagged: bool = False


def _by_head(known: Callable[[bytes], bool]) -> Callable[[Path], bool]:
    def is_at(path: Path) -> bool:
        with open(path, "rb") as file:
            return known(file.read(_HEAD_BYTES))

    return is_at


def store_kind(name: str, header_format: str) -> Kind:
    """Of LMDB files whose headers name this format, or that are too damaged to be opened."""

    def is_at(path: Path) -> bool:
        if not _by_head(lambda head: head[16:20] == MAGIC.to_bytes(4, "little"))(path):
            return False
        try:
            file = mapped_file(path)
            header = file.get(store_format.HEADER, store_format.HEADER_KEY)
        except InputError:
            return True
        return header is not None and header_format.encode() in bytes(header)

    return Kind(name, is_at, flagged=True)


IMAGE_STORE = store_kind("an image store", store_format.FORMAT)
HDF5 = Kind("an HDF5 file", _by_head(lambda head: head.startswith(b"\x89HDF\r\n\x1a\n")), flagged=True)
PNG = Kind("a PNG that sdali wrote", _by_head(lambda head: head.startswith(_PNG) and PNG_MARK in head))
RECORD = Kind("a record of figures (JSON)", _by_head(lambda head: head[:1] == b"{" and b'"machine"' in head))
STATISTICS = Kind("the statistics of a store", _by_head(lambda head: head[:1] == b"{" and b'"digest"' in head))
DETECTIONS = Kind(
    "predictions in COCO's format",
    _by_head(lambda head: head[:1] == b"[" and (b'"image_id"' in head or not head.strip(b"[] \n"))),
)
ANSWERS = Kind("answers of a localization", _by_head(lambda head: not re.sub(rb"[0-9.e+\- \n]", b"", head)))


def is_null(path: Path) -> bool:
    """Whether it is /dev/null, where results may be thrown away."""
    return os.path.realpath(path) == os.devnull


def check_output(path: Path, kind: Kind, *, overwrite: bool = True) -> None:
    """Raise InputError unless `path` may become an output of this kind; see above."""
    if is_null(path) and not kind.flagged:
        return
    if path.is_symlink():
        raise InputError(f"{path} is a link to {os.readlink(path)}, and a link is not replaced; name that file itself")
    if path.is_dir():
        raise InputError(f"cannot write {path}: it is a folder; name a file, for example {path / 'NAME'}")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no folder {path.parent}; make it, or name another")
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"cannot write {path}: nothing may be written into {path.parent}; name another folder")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is a device or a pipe, which {kind.name} is not written to; name a file")
    try:
        replaceable = not path.stat().st_size or kind.is_at(path)
    except OSError as error:
        raise InputError(f"cannot read {path}, which is to be replaced ({error.strerror}); name another file") from None
    if not replaceable:
        raise InputError(f"{path} exists already and is not {kind.name}; remove it, or name another file")
    if not overwrite:
        raise InputError(f"{path} exists already; remove it, name another file, or pass --overwrite")


def check_outputs(options: Any, outputs: Mapping[str, Kind], inputs: Iterable[Path] = ()) -> None:
    """Check a command's outputs before any work is done: each by check_output, and none another path of the command.

    options: a dataclass, whose fields `outputs` names; paths in all its other fields are inputs, as are `inputs`.
    Raises InputError.
    """
    others = [*inputs, *paths_in(options, besides=outputs)]
    for name, kind in outputs.items():
        path = getattr(options, name)
        if path is None:
            continue
        check_apart(path, others)
        check_output(path, kind, overwrite=not kind.flagged or getattr(options, "overwrite", True))
        others.append(path)


def check_apart(path: Path, others: Iterable[Path]) -> None:
    """Raise InputError where `path` leads to one of the others; /dev/null may come as often as one likes."""
    for other in others:
        if _same(path, other) and not is_null(path):
            raise InputError(f"{path} is also {other} of this very command, which would be lost; name another file")


def paths_in(options: Any, besides: Iterable[str] = ()) -> Iterator[Path]:
    """All paths in the fields of a dataclass, and in those of the dataclasses in it, but for some fields."""
    for field in fields(options):
        value = None if field.name in besides else getattr(options, field.name)
        if is_dataclass(value):
            yield from paths_in(value)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, Path):
                yield each


def _same(one: Path, other: Path) -> bool:
    if os.path.realpath(one) == os.path.realpath(other):
        return True
    try:
        return os.path.samefile(one, other)  # two names of one file
    except OSError:
        return False

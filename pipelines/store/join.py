"""Writing a store of several files: joining files that exist, or building them one after the other.

The folder gets its name when all of it is on disk, so it exists whole or not at all. Memory is bounded by one shard,
whatever the number of samples.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.publish import PartialFolder, write_atomically, write_errors
from . import format as store_format
from .index import Part, Records, new_labels, read_columns, read_header, read_offsets
from .lmdb_read import MappedFile, mapped_file
from .shards import HEADER_FILE, column_file, digest_of_shards
from .writer import StoreWriter


def join(path: str | Path, files: Sequence[str | Path], *, overwrite: bool = False) -> str:
    """Make the folder `path`, a store of the samples of these store files in their order; returns its digest.

    The files stay where they are; those below the folder that `path` lies in are named relative to it, others by their
    absolute paths. The classes are those of all files, by name, in the order in which they first come. overwrite:
    whether a folder of a store that exists at `path` is replaced. Raises InputError for a file that is no store, comes
    twice, lies in `path`, or has other annotations than the first, for other classes of pixels, whose numbers are in
    the masks, and for a `path` that exists.
    """
    target = Path(path)
    if not files:
        raise InputError(f"no files for {target}; name the stores to join")
    if inside := [file for file in files if Path(file).resolve().is_relative_to(target.resolve())]:
        raise InputError(f"{inside[0]} lies in {target}, which would be replaced; name another folder")
    with write_errors(target):
        folder = PartialFolder(target, marker=HEADER_FILE, overwrite=overwrite)
        try:
            digest = _write_index(folder.path, [_name(Path(file), target) for file in files], {"source": "joined"})
            folder.publish()
        finally:
            folder.discard()
    return digest


def _name(file: Path, target: Path) -> str:
    """The file's path as the folder `target` names it."""
    absolute = file.absolute()
    beside = absolute.is_relative_to(target.absolute().parent)
    return os.path.relpath(absolute, target.absolute()) if beside else str(absolute)


def _write_index(folder: Path, files: Sequence[str], provenance: Mapping[str, Any]) -> str:
    """Write columns and header of a folder whose shards are these files, as the header names them."""
    paths = [Path(os.path.normpath(folder / name)) for name in files]
    headers: list[dict[str, Any]] = []
    opened: list[MappedFile] = []
    parts: list[dict[str, np.ndarray]] = []
    for path in paths:
        opened.append(mapped_file(path))
        headers.append(read_header(opened[-1], path))
        _check_alike(headers, paths)
        parts.append(read_columns(opened[-1], path, headers[-1]))
    first, classes = headers[0], _union(headers, paths)
    for number, (header, path) in enumerate(zip(headers, paths, strict=True)):
        if (labels := new_labels(header["classes"], classes)) is not None:
            parts[number] = _relabelled(parts[number], labels, opened[number], header, path)
    columns = {name: _write_column(column_file(folder, name), name, parts) for name in sorted(first["columns"])}
    shards = [{"file": n, "count": h["count"], "digest": h["digest"]} for n, h in zip(files, headers, strict=True)]
    header = {
        **{name: value for name, value in first.items() if name != "offsets_crc32"},
        "classes": classes,
        "count": sum(shard["count"] for shard in shards),
        "digest": store_format.digest_of(columns, {**first, "classes": classes}),
        "record_bytes": sum(each["record_bytes"] for each in headers),
        "provenance": dict(provenance),
        "shards": shards,
        "shards_digest": digest_of_shards(shards),
    }
    write_atomically(folder / HEADER_FILE, (json.dumps(header, indent=1) + "\n").encode())
    return header["digest"]


def _check_alike(headers: Sequence[dict[str, Any]], files: Sequence[Path]) -> None:
    """Raise InputError unless the last one goes with those before it."""
    (first, last), name = (headers[0], headers[-1]), files[len(headers) - 1]
    entries = [("category ids", "category_ids"), ("masks or boxes", "columns"), ("ignore index", "ignore_index")]
    if first.get("ignore_index") is not None:
        entries.append(("classes of pixels", "classes"))
    elif first.get("category_ids") is not None:
        entries.append(("classes with category ids", "classes"))
    for what, entry in entries:
        if first.get(entry) != last.get(entry):
            raise InputError(f"{name} has other {what} than {files[0]}; join stores that were built alike")
    digests = [header["digest"] for header in headers]
    if (same := digests.index(digests[-1])) < len(digests) - 1:
        raise InputError(f"{name} holds the same images as {files[same]}; name each store once")


def _union(headers: Sequence[dict[str, Any]], files: Sequence[Path]) -> list[str]:
    """The classes of all, each name once, in the order in which they first come."""
    if all(header["classes"] == headers[0]["classes"] for header in headers):
        return headers[0]["classes"]
    for header, file in zip(headers, files, strict=True):
        name, times = Counter(header["classes"]).most_common(1)[0] if header["classes"] else ("", 1)
        if times > 1:
            raise InputError(f"{file} has {times} classes called {name!r}, which no name tells apart; rename them")
    return list(dict.fromkeys(name for header in headers for name in header["classes"]))


def _relabelled(
    columns: Mapping[str, np.ndarray], labels: np.ndarray, file: MappedFile, header: dict[str, Any], path: Path
) -> dict[str, np.ndarray]:
    """The columns of a file with class labels[k], int64 [K], in place of k, also in the boxes that the CRC32 cover."""
    old = columns["labels"]
    changed = dict(columns, labels=np.append(labels, -1)[old])  # -1, no class, is the last
    if "box_counts" in columns:
        sizes = store_format.record_bytes(columns)
        annotated = np.flatnonzero(sizes["box"])
        offsets = read_offsets(file, path, header, sizes)
        crc32 = columns["box_crc32"].copy()
        as_built = Records([Part(0, file, offsets)]).read("box", annotated, sizes["box"][annotated])
        for index, record in zip(annotated.tolist(), as_built, strict=True):
            if zlib.crc32(record) != crc32[index]:  # which a new CRC32 would hide
                raise InputError(f"the boxes of sample {index} of {path} are damaged; build it again")
            crc32[index] = zlib.crc32(store_format.relabelled_boxes(record, labels))
        changed["box_crc32"] = crc32
    return changed


def _write_column(path: Path, name: str, parts: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Write one column of all shards behind each other, on disk when it returns; read-only array over the file."""
    with open(path, "wb") as file:
        names_before = 0
        for number, part in enumerate(parts):
            column = part[name]
            if name == "name_offsets":
                column = (column if number == 0 else column[1:]) + names_before
                names_before += len(part["names"])
            column.tofile(file)
        file.flush()
        os.fsync(file.fileno())
        dtype, size = parts[0][name].dtype, file.tell()
    return np.memmap(path, dtype, "r") if size else np.zeros(0, dtype)


class ShardedWriter:
    """Builds a folder of store files, as StoreWriter builds one; a file ends when it has `shard_bytes` of records.

    overwrite: whether a folder of a store that exists there is replaced. Raises InputError for any other target that
    exists, and otherwise as StoreWriter does. `file_bytes` counts the bytes of the finished files.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        shard_bytes: int,
        overwrite: bool = False,
        provenance: Mapping[str, Any] | None = None,
        **declaration: Any,
    ) -> None:
        self.path = Path(path)
        self._shard_bytes, self._declaration = shard_bytes, declaration
        self._provenance = dict(provenance or {})
        self._names: list[str] = []
        self._count = 0
        self.file_bytes = 0
        self._shard: StoreWriter | None = None
        with write_errors(self.path):
            self._folder = PartialFolder(self.path, marker=HEADER_FILE, overwrite=overwrite)

    def __len__(self) -> int:
        return self._count

    def add(self, data: bytes, **sample: Any) -> None:
        """Append one sample, as StoreWriter.add does."""
        if self._shard is None:
            self._names.append(f"{len(self._names):05}.lmdb")
            path = self._folder.path / self._names[-1]
            self._shard = StoreWriter(path, provenance=self._provenance, **self._declaration)
        self._shard.add(data, **sample)
        self._count += 1
        if self._shard.record_bytes >= self._shard_bytes:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self._shard is not None:
            self._shard.finish()
            self._shard.publish()
            self.file_bytes += self._shard.file_bytes
            self._shard = None

    def finish(self) -> str:
        """Write all that is missing to disk, under the partial name; returns the digest."""
        if not self._count:
            raise InputError(f"no image for {self.path}; name a source that has some")
        self._finish_shard()
        with write_errors(self.path):
            return _write_index(self._folder.path, self._names, self._provenance)

    def publish(self) -> None:
        """Give the finished folder its name."""
        with write_errors(self.path):
            self._folder.publish()

    def discard(self) -> None:
        """Remove what was written; does nothing to a published store."""
        if self._shard is not None:
            self._shard.discard()
        self._folder.discard()

"""Writing a heatmap store so that a kill at any moment costs one batch.

Maps are committed to the rank's partial file as they come (see partial). When all are there, rank 0 merges the partial
files in index order into one LMDB file, and renames it to its final name: a store exists whole or not at all, and its
content does not depend on how often the run was killed or how many ranks it had. While it runs, rank 0 holds
`PATH.partial`.
"""

from __future__ import annotations

import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.publish import PartialFile, write_errors
from ...pipelines.store import format as store_format
from ...pipelines.store.format import HEADER, HEADER_KEY, INDEX, SCHEMA, key
from ...pipelines.store.heatmaps import FORMAT, MAPS
from ...pipelines.store.lmdb_write import LmdbFile
from . import partial
from .partial import Shard, decode, encode, shard_path, shard_paths


class HeatmapWriter:
    """Context manager over an unfinished heatmap store; leaving it keeps what was put, `finish` publishes.

    `path`: the name of the finished store. `count`: how many maps it will have, one for each image. `images_digest`: of
    the image store that the maps belong to. `method`: how maps are made, with every parameter that changes them.
    `model_digest`: identity of the model's weights, "" without a model. `rank`, `world_size`: of the processes that
    share the work; this one makes the i with i % world_size == rank. Raises InputError for a path that exists (unless
    `overwrite`) or is being written by another process, and for a full disk.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        count: int,
        images_digest: str,
        method: str,
        model_digest: str = "",
        overwrite: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.path, self.count = Path(path), count
        self.rank, self.world_size = rank, world_size
        source = {"images_digest": images_digest, "method": method, "model_digest": model_digest}
        self._identity = {**source, "count": count}
        self._done = np.zeros(count, bool)
        with ExitStack() as undo, write_errors(self.path):
            self._file = PartialFile(self.path, overwrite=overwrite) if rank == 0 else None
            undo.callback(self._discard_file)
            self._shard = Shard(shard_path(self.path, rank, world_size), self._binding, writable=True)
            undo.callback(self._shard.close)
            self._done[self._shard.indices()] = True
            for leftover in shard_paths(self.path, other_than=world_size):
                with closing(Shard(leftover, self._binding)) as shard:
                    self._done[shard.indices()] = True
            undo.pop_all()

    def missing(self) -> np.ndarray:
        """int64 [n], ascending: this rank's indices that no partial file holds."""
        mine = np.arange(self.rank, self.count, self.world_size)
        return mine[~self._done[mine]]

    def put(self, indices: Sequence[int] | np.ndarray, maps: Sequence[np.ndarray] | np.ndarray) -> None:
        """Commit the maps, uint8 [n, h, w] or n maps [h, w] of any sizes, of these indices; on disk when it returns."""
        items = [(key(int(index)), encode(heatmap)) for index, heatmap in zip(indices, maps, strict=True)]
        if len(items) and not 0 <= min(indices) <= max(indices) < self.count:
            raise ValueError(f"indices of {self.path} are 0 to {self.count - 1}, not {min(indices)} to {max(indices)}")
        with write_errors(self.path):
            self._shard.put(items)
        self._done[np.asarray(indices, np.int64)] = True

    def finish(self) -> None:
        """Publish the store and remove the partial files; on rank 0, when every rank has called `close`.

        Raises InputError where maps are missing, a partial file is damaged, or the disk is full; all maps are then
        kept.
        """
        assert self._file is not None, "only rank 0 publishes"
        self._shard.close()
        with ExitStack() as shards, write_errors(self.path):
            paths = shard_paths(self.path)
            self._merge([shards.enter_context(closing(Shard(path, self._binding))) for path in paths])
            self._file.publish()
            for path in paths:
                path.unlink()

    def close(self) -> None:
        """Unlock the files; what was put stays for the next run, or for rank 0's `finish`."""
        self._shard.close()
        self._discard_file()

    def __enter__(self) -> HeatmapWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _binding(self) -> dict[str, Any]:
        return {"format": partial.FORMAT, "schema": partial.SCHEMA, **self._identity}

    def _discard_file(self) -> None:
        if self._file is not None:
            self._file.discard()

    def _merge(self, shards: list[Shard]) -> None:
        """Write all maps in index order, then the columns, the header and the meta pages."""
        assert self._file is not None
        file = LmdbFile(self._file.descriptor, [MAPS, INDEX, HEADER])
        sizes, crc32 = array("H"), array("I")
        for index, heatmap in enumerate(self._maps(shards)):
            body = heatmap.tobytes()
            file.put(MAPS, key(index), body)
            sizes.extend(heatmap.shape)
            crc32.append(zlib.crc32(body))
        columns, offsets = {"sizes": sizes, "crc32": crc32}, {"map": file.offsets(MAPS)}
        for name, column in sorted({**columns, "map_offsets": offsets["map"]}.items()):
            file.put(INDEX, name.encode(), column.tobytes())
        document = {
            "format": FORMAT,
            "schema": SCHEMA,
            **self._identity,
            "digest": store_format.digest(columns, ()),
            "offsets_crc32": store_format.offsets_crc32(offsets),
        }
        file.put(HEADER, HEADER_KEY, json.dumps(document).encode())
        file.finish()

    def _maps(self, shards: list[Shard]) -> Iterator[np.ndarray]:
        """All maps in index order, each checked."""
        for index, shard in enumerate(self._owners(shards)):
            try:
                yield decode(shards[shard].get(key(index)))
            except ValueError as error:
                raise InputError(
                    f"map {index} in the partial files of {self.path} {error}; "
                    f"remove {self.path}.*.partial and start again"
                ) from None

    def _owners(self, shards: list[Shard]) -> Iterable[int]:
        """For each index the number of a shard that holds it."""
        owners = np.full(self.count, -1)
        for number, shard in enumerate(shards):
            owners[shard.indices()] = number
        if absent := int((owners < 0).sum()):
            raise InputError(
                f"{self.path} lacks {absent} of its {self.count} maps; run the same command again to make them"
            )
        return owners  # a list of a billion would take 8 GB more

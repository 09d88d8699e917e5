"""A heatmap store exists whole or not at all, and is the same however often its writing was killed and restarted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest
from heatmap_writing import BINDING, COUNT, TRUTH, put

from sdali.cams.store.partial import shard_path, shard_paths
from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HEADER, MAPS, HeatmapStore


def write(path: Path) -> None:
    """An undisturbed run."""
    with HeatmapWriter(path, **BINDING) as writer:
        put(writer, writer.missing())
        writer.finish()


def records(path: Path) -> list[tuple[bytes, bytes]]:
    """All of a store's content, read with plain LMDB."""
    with (
        lmdb.open(str(path), subdir=False, readonly=True, lock=False, max_dbs=2) as environment,
        environment.begin() as transaction,
    ):
        return [
            pair for name in (MAPS, HEADER) for pair in transaction.cursor(environment.open_db(name, txn=transaction))
        ]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "maps.lmdb"
    write(path)
    return path


def test_what_was_put_is_read(undisturbed: Path) -> None:
    """Every map comes back by its index, whatever its size, and nothing but the store is left in the folder."""
    assert all(np.array_equal(found, true) for found, true in zip(HeatmapStore(undisturbed), TRUTH, strict=True))
    assert os.listdir(undisturbed.parent) == ["maps.lmdb"]


def test_a_finished_store_needs_every_map(tmp_path: Path) -> None:
    """`finish` refuses a store with holes, says how many, publishes nothing and keeps what is there."""
    path = tmp_path / "maps.lmdb"
    with HeatmapWriter(path, **BINDING) as writer:
        put(writer, range(10, 40))
        with pytest.raises(InputError, match="lacks 20 of its 50 maps; run the same command again"):
            writer.finish()
    assert not path.exists()
    with HeatmapWriter(path, **BINDING) as writer:
        assert writer.missing().tolist() == [*range(10), *range(40, 50)]


KILLED = """
import os, signal, sys
from pathlib import Path
import sdali.cams.store.writer as module
from heatmap_writing import BINDING, put
when = sys.argv[2]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
with module.HeatmapWriter(Path(sys.argv[1]), **BINDING) as writer:
    for start in range(0, 50, 8):
        put(writer, [i for i in range(start, min(start + 8, 50))])
        if when == "put" and start == 24: die()
    if when == "merge":
        decode, seen = module.decode, []
        module.decode = lambda record: die() if len(seen) == 30 else (seen.append(1), decode(record))[1]
    if when == "publish": module.PartialFile.publish = die
    if when == "remove": Path.unlink = die
    writer.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("when", "left"), [("put", 18), ("merge", 0), ("publish", 0), ("remove", 0)])
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, undisturbed: Path, when: str, left: int) -> None:
    """kill -9 between commits, in the merge, before and after the rename: nothing is made twice, and the content is the
    undisturbed run's.
    """
    path = tmp_path / "maps.lmdb"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2] / "helpers"), *sys.path])}
    process = subprocess.run([sys.executable, "-c", KILLED, str(path), when], env=environment, check=False)
    assert process.returncode == -signal.SIGKILL
    assert path.exists() == (when == "remove")
    with HeatmapWriter(path, **BINDING, overwrite=when == "remove") as writer:
        assert writer.missing().tolist() == list(range(COUNT - left, COUNT))
        put(writer, writer.missing())
        writer.finish()
    assert records(path) == records(undisturbed)
    assert os.listdir(tmp_path) == ["maps.lmdb"]


@pytest.mark.parametrize("changed", ["images_digest", "method", "model_digest", "count"])
def test_partial_work_of_another_kind_is_discarded(tmp_path: Path, changed: str) -> None:
    """Maps of other images, another method or model are never mixed in, from however many ranks they are left."""
    path = tmp_path / "maps.lmdb"
    other = {**BINDING, changed: 51 if changed == "count" else "other"}
    for world_size in (1, 3):
        with HeatmapWriter(path, **other, world_size=world_size) as writer:
            put(writer, writer.missing()[:8])
    with HeatmapWriter(path, **BINDING) as writer:
        assert len(writer.missing()) == COUNT
        put(writer, writer.missing())
        writer.finish()
    assert os.listdir(tmp_path) == ["maps.lmdb"]


def test_ranks_share_the_work_across_restarts(tmp_path: Path, undisturbed: Path) -> None:
    """One rank, then three, then two, each stopped on the way: ranks never overlap, nothing is made twice."""
    path, made = tmp_path / "maps.lmdb", []
    for world_size, batch in [(1, 8), (3, 4), (2, COUNT)]:
        writers = [HeatmapWriter(path, **BINDING, rank=rank, world_size=world_size) for rank in range(world_size)]
        for writer in writers:
            made += writer.missing()[:batch].tolist()
            put(writer, writer.missing()[:batch])
        for writer in reversed(writers):
            writer.close() if writer is not writers[0] else None
        if world_size == 2:
            writers[0].finish()
        writers[0].close()
    assert sorted(made) == list(range(COUNT))
    assert records(path) == records(undisturbed)
    assert os.listdir(tmp_path) == ["maps.lmdb"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    """A second process on the same store is told to wait, with any number of ranks, and leaves the first alone."""
    path = tmp_path / "maps.lmdb"
    with HeatmapWriter(path, **BINDING) as writer:
        put(writer, [3])
        for rank, world_size in [(0, 1), (0, 2), (1, 2)]:
            with pytest.raises(InputError, match="another process; wait for it, or stop it"):
                HeatmapWriter(path, **BINDING, rank=rank, world_size=world_size)
        put(writer, [4])
        assert len(writer.missing()) == COUNT - 2


def test_an_existing_store_is_kept_unless_told(tmp_path: Path, undisturbed: Path) -> None:
    """A published store is replaced only with `overwrite`, and only when the new one is whole."""
    path = tmp_path / "maps.lmdb"
    write(path)
    with pytest.raises(InputError, match="exists already"):
        HeatmapWriter(path, **BINDING)
    with HeatmapWriter(path, **{**BINDING, "method": "new"}, overwrite=True) as writer:
        put(writer, range(COUNT))
        assert records(path) == records(undisturbed)
        writer.finish()
    assert HeatmapStore(path).header["method"] == "new"


@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_a_damaged_partial_file_is_begun_anew(tmp_path: Path, damage: str) -> None:
    """A partial file that is not a whole LMDB file is discarded, not mapped (LMDB would die of SIGBUS)."""
    path = tmp_path / "maps.lmdb"
    with HeatmapWriter(path, **BINDING) as writer:
        put(writer, range(40))
    shard = shard_path(path, 0, 1)
    content = shard.read_bytes()
    shard.write_bytes({"truncated": content[:-4096], "text": b"hello" * 4000, "empty": b""}[damage])
    with HeatmapWriter(path, **BINDING) as writer:
        assert len(writer.missing()) == COUNT


def test_a_damaged_map_is_not_published(tmp_path: Path) -> None:
    """A flipped bit in a partial file is found at the merge and named, with the way out."""
    path = tmp_path / "maps.lmdb"
    with HeatmapWriter(path, **BINDING) as writer:
        put(writer, range(COUNT))
        writer.close()
        (shard,) = shard_paths(path)
        content = shard.read_bytes()
        assert TRUTH[6].tobytes() in content
        shard.write_bytes(content.replace(TRUTH[6].tobytes(), bytes(35)))
        with (
            HeatmapWriter(path, **BINDING) as again,
            pytest.raises(InputError, match=r"map 6 .* fails its checksum; remove"),
        ):
            again.finish()
    assert not path.exists()


def test_files_of_other_stores_are_left_alone(tmp_path: Path) -> None:
    """Names that only resemble a partial file of this store are not touched, nor is "+" a regular expression."""
    names = ["maps+.lmdb.0-of-2.partials", "mapss.lmdb.0-of-2.partial", "maps+.lmdb.x-of-2.partial"]
    for name in names:
        (tmp_path / name).write_text("not ours")
    write(tmp_path / "maps+.lmdb")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "maps+.lmdb"])


def test_indices_outside_the_store_are_refused(tmp_path: Path) -> None:
    """An index beyond the count never reaches the file."""
    with HeatmapWriter(tmp_path / "maps.lmdb", **BINDING) as writer:
        with pytest.raises(ValueError, match=r"indices of .* are 0 to 49, not 3 to 50"):
            writer.put([3, 50], [TRUTH[0], TRUTH[1]])
        assert len(writer.missing()) == COUNT

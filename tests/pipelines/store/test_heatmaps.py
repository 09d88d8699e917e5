"""Reading heatmaps: bound to their images, damage named, safe across processes."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HeatmapStore, quantise

MAPS = np.random.default_rng(0).integers(0, 256, (20, 6, 9), np.uint8)


def build(path: Path, maps: np.ndarray = MAPS, **changed: Any) -> Path:
    binding = {"count": len(maps), "images_digest": "abc", "method": "test", "model_digest": "", **changed}
    with HeatmapWriter(path, **binding, overwrite=True) as writer:
        writer.put(range(len(maps)), maps)
        writer.finish()
    return path


class Images(SimpleNamespace):
    """The part of an image store that a heatmap store looks at."""

    def __len__(self) -> int:
        return self.count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build(tmp_path / "maps.lmdb")


def test_a_store_is_a_sequence_of_maps(path: Path) -> None:
    """len, index, iteration to the end; IndexError outside, also for negative indices."""
    store = HeatmapStore(path)
    assert len(store) == 20 and np.array_equal(list(store), MAPS)
    for index in (-1, 20):
        with pytest.raises(IndexError, match=f"no map {index}: its indices are 0 to 19"):
            store[index]


def test_maps_outlive_their_store(path: Path) -> None:
    """A map is a read-only view that keeps the file open, so it stays valid when the store is gone."""
    heatmap = HeatmapStore(path)[4]
    assert np.array_equal(heatmap, MAPS[4]) and not heatmap.flags.writeable


def test_heatmaps_belong_to_their_images(path: Path) -> None:
    """`check` accepts the images of the same digest and count, and names both files for any other."""
    store = HeatmapStore(path)
    store.check(Images(digest="abc", count=20, path="pets.lmdb"))  # type: ignore[arg-type]
    for other in (Images(digest="abd", count=20, path="pets.lmdb"), Images(digest="abc", count=21, path="pets.lmdb")):
        with pytest.raises(InputError, match=f"{path} were made from other images than pets.lmdb"):
            store.check(other)  # type: ignore[arg-type]


def test_a_damaged_map_is_named(path: Path) -> None:
    """A changed byte is an error with index and file, for that map alone."""
    content = path.read_bytes()
    assert MAPS[3].tobytes() in content
    path.write_bytes(content.replace(MAPS[3].tobytes(), MAPS[3][::-1].tobytes()))
    store = HeatmapStore(path)
    with pytest.raises(InputError, match=f"heatmap 3 of {path} fails its checksum; make it again"):
        store[3]
    assert np.array_equal(store[4], MAPS[4])


def test_a_truncated_file_is_refused_before_it_is_mapped(path: Path) -> None:
    """A short file would kill the process with SIGBUS at the first touch of its end."""
    path.write_bytes(path.read_bytes()[:-4096])
    with pytest.raises(InputError, match=f"{path} is truncated"):
        HeatmapStore(path)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """No file, a text, another LMDB file and an unfinished store: one sentence each, with the file's name."""
    (tmp_path / "text").write_text("hello" * 2000)
    with (
        lmdb.open(str(tmp_path / "lmdb"), subdir=False, lock=False, lib_version=0) as environment,
        environment.begin(write=True) as t,
    ):
        t.put(b"a", b"b")
    with HeatmapWriter(tmp_path / "maps", count=2, images_digest="", method="") as writer:
        writer.put([0], MAPS[:1])
    (tmp_path / "maps.0-of-1.partial").rename(tmp_path / "unfinished")
    for name, reason in [
        ("none", "does not exist"),
        ("text", "no LMDB"),
        ("lmdb", "foreign LMDB file"),
        ("unfinished", "partial"),
    ]:
        with pytest.raises(InputError, match=f"{tmp_path / name} .*{reason}"):
            HeatmapStore(tmp_path / name)


def test_pickling_reopens_the_same_content(tmp_path: Path) -> None:
    """A pickled store opens by path elsewhere, and refuses what has replaced it since."""
    path = build(tmp_path / "maps.lmdb")
    state = pickle.dumps(HeatmapStore(path))
    assert np.array_equal(pickle.loads(state)[7], MAPS[7])
    build(path, MAPS[::-1].copy())
    with pytest.raises(InputError, match="replaced by another heatmap store"):
        pickle.loads(state)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # other tests' threads; the child only reads
def test_a_forked_child_reads(path: Path) -> None:
    """A store opened before a fork gives the same maps in the child, and goes on in the parent."""
    store = HeatmapStore(path)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=lambda: queue.put(np.array(store)))
    process.start()
    assert np.array_equal(queue.get(timeout=20), MAPS)
    process.join()
    assert process.exitcode == 0 and np.array_equal(store[5], MAPS[5])


def test_a_batch_of_maps_equals_one_by_one(tmp_path: Path) -> None:
    """Maps of many sizes, in any order and repeated."""
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 256, rng.integers(1, 9, 2), np.uint8) for _ in range(12)]
    with HeatmapWriter(tmp_path / "m.lmdb", count=12, images_digest="", method="test") as writer:
        writer.put(range(12), maps)
        writer.finish()
    cells = HeatmapStore(tmp_path / "m.lmdb").cells(np.array([7, 0, 7, 11]))
    assert cells.shapes.tolist() == [list(maps[index].shape) for index in (7, 0, 7, 11)]
    np.testing.assert_array_equal(cells.values, np.concatenate([maps[index].ravel() for index in (7, 0, 7, 11)]))


def test_a_damaged_map_of_a_batch_is_named(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(MAPS[3].tobytes(), MAPS[3][::-1].tobytes()))
    with pytest.raises(InputError, match=f"heatmap 3 of {path} fails its checksum; make it again"):
        HeatmapStore(path).cells(np.array([4, 3]))
    with pytest.raises(IndexError, match="no map 20"):
        HeatmapStore(path).cells(np.array([4, 20]))


@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(-1e6, 1e6, width=32)))
def test_quantise_follows_its_formula(maps: np.ndarray) -> None:
    """Each cell is round(255 max(m, 0) / max m), by a loop in Python floats; without a positive cell, zero."""
    for floats, levels in zip(maps, quantise(maps), strict=True):
        peak = float(floats.max())
        expected = [[round(255 * (max(float(m), 0.0) / peak)) if peak > 0 else 0 for m in row] for row in floats]
        assert levels.tolist() == expected


def test_quantise_ignores_scale() -> None:
    """Maps that differ by a factor become the same, however small."""
    heatmap = np.random.default_rng(0).normal(size=(6, 6))
    assert np.array_equal(quantise(heatmap), quantise(heatmap * 2.0**-40))
    assert quantise(heatmap).max() == 255

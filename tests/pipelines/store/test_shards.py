"""A store of several files is, to every reader, the store of one file with the same samples."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import jpeg, photo

from sdali.cams.heatmaps import from_masks
from sdali.pipelines import ImageStore, classification
from sdali.pipelines.errors import BadSampleError, InputError
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.join import ShardedWriter
from sdali.pipelines.store.measure import measure, save
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.subset import Subset
from sdali.pipelines.store.verify import verify_store
from sdali.pipelines.store.writer import StoreWriter

COUNT, SHARD_BYTES = 41, 8_000


def fill(writer: StoreWriter | ShardedWriter) -> None:
    """Images of three classes with masks, every other one with boxes, one with an empty name."""
    rng = np.random.default_rng(0)
    for index in range(COUNT):
        height, width = (int(side) for side in rng.integers(40, 80, 2))
        boxes = Boxes(np.full((index % 3, 4), index, np.float32), np.arange(index % 3), np.arange(index % 3) == 1)
        writer.add(
            jpeg(photo(index, height, width)),
            label=index % 3,
            height=height,
            width=width,
            name=f"{index}.jpg" if index else "",
            mask=encode_mask(np.full((height, width), index % 3, np.uint8)),
            boxes=boxes if index % 2 else None,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `one.lmdb` and `several`, of the same samples."""
    folder = tmp_path_factory.mktemp("shards")
    options: dict[str, Any] = {"classes": "abc", "has_masks": True, "has_boxes": True}
    with StoreWriter(folder / "one.lmdb", **options) as writer:
        fill(writer)
    sharded = ShardedWriter(folder / "several", shard_bytes=SHARD_BYTES, **options)
    fill(sharded)
    sharded.finish()
    sharded.publish()
    return folder


@pytest.fixture
def stores(built: Path) -> tuple[ImageStore, ImageStore]:
    return ImageStore(built / "one.lmdb"), ImageStore(built / "several")


def test_all_of_it_is_that_of_one_file(stores: tuple[ImageStore, ImageStore]) -> None:
    """Columns, names, digest, records in any order, masks, boxes and objects; the shards are of the size asked for."""
    one, several = stores
    assert len(several) == COUNT and several.digest == one.digest and several.classes == one.classes
    for name in ("labels", "sizes", "byte_sizes"):
        np.testing.assert_array_equal(getattr(several, name), getattr(one, name))
        assert not getattr(several, name).flags.writeable and type(getattr(several, name)) is np.ndarray
    assert list(several.names) == list(one.names)
    order = np.random.default_rng(1).integers(0, COUNT, 200)
    for count in (0, 1, 3, 4, 200):
        assert [bytes(view) for view in several.read(order[:count])] == [bytes(v) for v in one.read(order[:count])]
    for index in range(COUNT):
        np.testing.assert_array_equal(several.mask(index), one.mask(index))
        for mine, other in zip(several.boxes(index), one.boxes(index), strict=True):
            np.testing.assert_array_equal(mine, other)
    for mine, other in zip(several.objects(), one.objects(), strict=True):
        np.testing.assert_array_equal(mine, other)
    shards = several.header["shards"]
    assert len(shards) > 5 and sum(shard["count"] for shard in shards) == COUNT
    sizes = [ImageStore(several.path / shard["file"]).header["record_bytes"] for shard in shards]
    assert all(SHARD_BYTES <= size < 2 * SHARD_BYTES for size in sizes[:-1])
    assert several.file_bytes == sum((several.path / shard["file"]).stat().st_size for shard in shards)


def test_epochs_are_pixel_identical(stores: tuple[ImageStore, ImageStore]) -> None:
    """Two guided epochs of a shuffled order, from heatmaps made on the one file; the state goes to the other form."""
    one = stores[0]
    heatmaps = one.path.with_name("maps.lmdb")
    from_masks(one, heatmaps, grid=4, overwrite=True)
    options: dict[str, Any] = {"heatmaps": heatmaps, "batch_size": 8, "size": 32, "statistics": IMAGENET}
    loaders = [classification.train_loader(store=store.path, device="cpu", **options) for store in stores]
    for _ in range(2):
        batches = 0
        for mine, other in zip(*loaders, strict=True):
            assert np.array_equal(mine["plan"], other["plan"]) and (mine["label"] == other["label"]).all()
            assert (mine["image"] == other["image"]).all()
            batches += 1
        assert batches == COUNT // 8
    loaders[0].load_state_dict(loaders[1].state_dict())
    for loader in loaders:
        loader.close()


def test_statistics_verify_subset_and_pickle(stores: tuple[ImageStore, ImageStore]) -> None:
    """What else is done with a store goes with a folder too."""
    one, several = stores
    measured = measure(several)
    assert np.array_equal(measured.covariance, measure(one).covariance)
    assert save(several, measured) == several.path.with_name("several.stats.json")
    found = ImageStore(several.path).statistics
    assert found is not None and np.array_equal(found.mean, measured.mean)
    assert verify_store(several) == []
    part = Subset(several, [40, 3, 17])
    assert [bytes(view) for view in part.read([0, 1, 2])] == [bytes(view) for view in one.read([40, 3, 17])]
    again = pickle.loads(pickle.dumps(several))
    assert again.digest == one.digest and bytes(again.read([7])[0]) == bytes(one.read([7])[0])
    again.close()
    with pytest.raises(InputError, match="has been closed"):
        again.read([0])


def test_damage_is_reported_with_the_index_in_the_whole(built: Path, tmp_path: Path) -> None:
    """Of a batch and alone, as in a store of one file."""
    folder = shutil.copytree(built / "several", tmp_path / "s")
    store = ImageStore(folder)
    record, index = bytes(store.read([30])[0]), 30
    before = 0
    for shard in store.header["shards"]:
        if before <= index < before + shard["count"]:
            path = folder / shard["file"]
            content = bytearray(path.read_bytes())
            content[content.index(record) + 100] ^= 1
            path.write_bytes(content)
        before += shard["count"]
    for indices in ([30], range(COUNT)):
        with pytest.raises(BadSampleError, match=r"30\.jpg") as error:
            ImageStore(folder).read(indices)
        assert error.value.index == 30
    assert [bad.index for bad in verify_store(ImageStore(folder))] == [30]


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    header = json.loads((folder / "header.json").read_text())
    change(header)
    (folder / "header.json").write_text(json.dumps(header))


def swap_files(folder: Path) -> None:
    first, second = folder / "00000.lmdb", folder / "00001.lmdb"
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)


def foreign(folder: Path) -> None:
    with StoreWriter(folder / "00001.lmdb", classes="ab", overwrite=True) as writer:
        writer.add(jpeg(photo(1, 40, 40)), label=0, height=40, width=40, name="x.jpg")


def truncate(path: Path, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda f: (f / "00001.lmdb").unlink(), r"00001\.lmdb, a shard of .*s, is missing"),
    "foreign": (foreign, r"00001\.lmdb does not hold the images that"),
    "swapped": (swap_files, r"00000\.lmdb does not hold the images that"),
    "doubled": (lambda f: shutil.copy(f / "00000.lmdb", f / "00001.lmdb"), r"00001\.lmdb does not hold"),
    "cut": (lambda f: truncate(f / "00001.lmdb", 9000), r"00001\.lmdb is truncated"),
    "no store": (lambda f: (f / "00001.lmdb").write_text("x"), r"00001\.lmdb is not an image store"),
    "listed twice": (lambda f: edit(f, lambda h: h["shards"].append(h["shards"][0])), "not those of the store"),
    "left out": (lambda f: edit(f, lambda h: h["shards"].pop()), "not those of the store"),
    "reordered": (lambda f: edit(f, lambda h: h["shards"].reverse()), "not in its order"),
    "miscounted": (lambda f: edit(f, lambda h: h.update(count=COUNT - 1)), "do not add up to its 40 samples"),
    "no list": (lambda f: edit(f, lambda h: h.pop("shards")), "lists no shards"),
    "odd list": (lambda f: edit(f, lambda h: h.update(shards=[{"file": 3}])), "lists no shards"),
    "other digest": (lambda f: edit(f, lambda h: h.update(digest="x")), "do not match its digest"),
    "other schema": (lambda f: edit(f, lambda h: h.update(schema=9)), "has schema version 9"),
    "no json": (lambda f: (f / "header.json").write_text("{"), "no legible header"),
    "no column": (lambda f: (f / "crc32.column").unlink(), r"cannot read .*crc32\.column"),
    "cut column": (lambda f: truncate(f / "labels.column", 80), r"labels\.column does not fit the 41 samples"),
    "other column": (lambda f: (f / "labels.column").write_bytes(bytes(8 * COUNT)), "do not match its digest"),
    "folder": (lambda f: (f / "header.json").unlink(), "is a folder, not an image store"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_is_refused(built: Path, tmp_path: Path, case: str) -> None:
    """Missing, foreign, doubled, reordered or damaged shards, header and columns: one sentence that names the file."""
    folder = shutil.copytree(built / "several", tmp_path / "s")
    assert len(ImageStore(folder)) == COUNT
    harm, sentence = BROKEN[case]
    harm(folder)
    with pytest.raises(InputError, match=sentence):
        ImageStore(folder)


def test_a_folder_may_be_moved(built: Path, tmp_path: Path) -> None:
    """Shards are named relative to it."""
    shutil.copytree(built / "several", tmp_path / "moved")
    assert len(ImageStore(tmp_path / "moved").read(range(COUNT))) == COUNT

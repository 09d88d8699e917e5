"""Laws of reading: damage is found and named, views outlive everything, forks and pickles work."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import time
from array import array
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdali.pipelines.errors import BadSampleError, InputError
from sdali.pipelines.store import format as store_format
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

_FORK = """
import multiprocessing, sys
from sdali.pipelines.store.reader import ImageStore

store = ImageStore(sys.argv[1])
views = store.read(range(len(store)))

def child(rank, queue):
    again = ImageStore(sys.argv[1])
    total = sum(len(view) for view in store.read(range(len(store)))) + sum(len(view) for view in again.read([0]))
    queue.put((total, bytes(views[rank][:4]), int(store.labels.sum())))

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [context.Process(target=child, args=(rank, queue)) for rank in range(3)]
    [process.start() for process in children]
    answers = [queue.get(timeout=30) for _ in children]
    [process.join() for process in children]
    print([process.exitcode for process in children], sorted(answers), len(store.read([5])[0]))
"""


def _png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten samples of 5000 + i bytes with masks and boxes."""
    with StoreWriter(tmp_path / "s.lmdb", classes=["猫", "dog"], has_masks=True, has_boxes=True) as writer:
        for i in range(10):
            mask = np.full((4 + i, 6), i, np.uint8)
            xyxy = np.arange(4 * (i % 3), dtype=np.float32).reshape(-1, 4) + 100 * i
            boxes = Boxes(xyxy, np.arange(i % 3), np.arange(i % 3) == 1)
            name = f"猫/图{i}.jpg"
            data = bytes([i + 1]) * (5000 + i)
            writer.add(data, label=i % 2, height=4 + i, width=6, name=name, mask=_png(mask), boxes=boxes)
    return tmp_path / "s.lmdb"


def _flip(path: Path, record: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(record) + 7] ^= 1
    path.write_bytes(content)


def test_a_batch_is_its_records_one_by_one(path: Path) -> None:
    """Any number of them, in any order, some twice; one that is damaged is named as it is alone."""
    store = ImageStore(path)
    order = np.random.default_rng(0).integers(0, 10, 40)
    for count in (0, 1, 3, 4, 40):
        batch = store.read(order[:count])
        assert [bytes(view) for view in batch] == [bytes([i + 1]) * (5000 + i) for i in order[:count].tolist()]
        assert all(view.readonly for view in batch)
    del store, batch
    _flip(path, b"\x08" * 5007)
    for indices in ([7], range(10)):
        with pytest.raises(BadSampleError, match=r"sample 7 \(猫/图7\.jpg\)"):
            ImageStore(path).read(indices)


def test_names_are_a_sequence(path: Path) -> None:
    """Names index, slice and count from the end like a list, and raise IndexError where it would."""
    names = ImageStore(path).names
    assert (names[3], names[-1], len(names)) == ("猫/图3.jpg", "猫/图9.jpg", 10)
    assert names[2:4] == ["猫/图2.jpg", "猫/图3.jpg"] and list(names)[9] == names[9]
    with pytest.raises(IndexError):
        names[10]


def test_masks_and_boxes_come_back(path: Path) -> None:
    """Each sample's own mask and boxes, in their declared types."""
    store = ImageStore(path)
    assert store.has_masks and store.has_boxes and store.classes == ("猫", "dog")
    for i in range(10):
        assert np.array_equal(store.mask(i), np.full((4 + i, 6), i, np.uint8))
        boxes, classes, difficult, _ = store.boxes(i)
        assert difficult.tolist() == [False, True][: i % 3]
        assert (boxes.dtype, classes.dtype, boxes.shape) == (np.float32, np.int64, (i % 3, 4))
        assert classes.tolist() == list(range(i % 3)) and boxes.ravel().tolist() == [
            100 * i + k for k in range(4 * (i % 3))
        ]


@pytest.mark.parametrize("index", [0, 9])
def test_a_flipped_byte_names_the_file(path: Path, index: int) -> None:
    """One bit of one record makes that sample, and no other, unreadable; `check=False` hands it out."""
    _flip(path, bytes([index + 1]) * (5000 + index))
    store = ImageStore(path)
    with pytest.raises(BadSampleError, match=f"图{index}.jpg.*is damaged") as caught:
        store.read([3, index, 4])
    assert (caught.value.index, caught.value.name, caught.value.store) == (index, f"猫/图{index}.jpg", str(path))
    assert len(store.read([i for i in range(10) if i != index])) == 9
    assert bytes(store.read([index], check=False)[0]) != bytes([index + 1]) * (5000 + index)


def test_a_flipped_byte_in_mask_or_boxes_is_found(path: Path) -> None:
    """Masks and boxes have CRCs of their own."""
    store = ImageStore(path)
    mask, boxes = bytes(store.encoded_mask(4)), store.boxes(2)[0].tobytes()
    del store
    gc.collect()
    _flip(path, mask)
    _flip(path, boxes)
    store = ImageStore(path)
    with pytest.raises(BadSampleError, match=r"图4.jpg.*its mask differs"):
        store.mask(4)
    with pytest.raises(BadSampleError, match=r"图2.jpg.*its box differs"):
        store.boxes(2)


def test_a_flipped_byte_in_a_column_is_found_when_opening(path: Path) -> None:
    """Columns are hashed against the digest, so that no label, size or name is silently another."""
    _flip(path, "猫/图0.jpg猫/图1.jpg".encode())
    with pytest.raises(InputError, match="do not match its digest"):
        ImageStore(path)


@pytest.mark.parametrize("indices", [[10], [-1], np.array([3, 99]), [0.5], np.zeros((2, 2), int)])
def test_indices_outside_the_store(path: Path, indices: object) -> None:
    """They raise InputError, also negative ones: an index is a place, not a Python offset."""
    with pytest.raises(InputError, match=r"has no sample|are a list of integers"):
        ImageStore(path).read(indices)  # type: ignore[arg-type]


def test_views_and_columns_outlive_the_store(path: Path) -> None:
    """Closed or collected, the store's views stay readable: no view may ever point into an unmapped page."""
    (first,) = ImageStore(path).read([1])
    store = ImageStore(path)
    (second,), labels, names = store.read([2]), store.labels, store.names
    store.close()
    with pytest.raises(InputError, match="has been closed"):
        store.read([0])
    del store
    path.unlink()
    gc.collect()
    assert (bytes(first[:2]), bytes(second[:2]), labels[3], names[4]) == (b"\2\2", b"\3\3", 1, "猫/图4.jpg")


def test_everything_handed_out_is_read_only(path: Path) -> None:
    """Nobody can write into the map."""
    store = ImageStore(path)
    with pytest.raises(TypeError):
        store.read([0])[0][0] = 1
    for column in (store.labels, store.sizes, store.byte_sizes):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = 1


def test_the_map_goes_with_its_last_user(path: Path) -> None:
    """Each of two stores of one file has a map, which goes when nothing refers to it."""
    first, second = ImageStore(path), ImageStore(path)
    first.close()
    assert len(second.read(range(10))) == 10 and str(path) in Path("/proc/self/maps").read_text()
    del first, second
    gc.collect()
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_a_pickled_store_reopens_and_refuses_another(path: Path) -> None:
    """A copy reads the same samples; once the file holds other samples, unpickling says so."""
    store = ImageStore(path)
    message = pickle.dumps(store)
    copy = pickle.loads(message)
    assert bytes(copy.read([3])[0]) == bytes(store.read([3])[0]) and len(message) < 500
    with StoreWriter(path, classes=(), overwrite=True) as writer:
        writer.add(b"x", label=-1, height=1, width=1, name="other")
    with pytest.raises(InputError, match="was replaced by another store"):
        pickle.loads(message)


@pytest.mark.slow
def test_forked_children_read(path: Path) -> None:
    """Children use the inherited store, open it again, and read views made before the fork; the parent goes on."""
    result = subprocess.run([sys.executable, "-c", _FORK, str(path)], capture_output=True, text=True, timeout=60)
    total = sum(5000 + i for i in range(10)) + 5000
    answers = [(total, bytes([rank + 1]) * 4, 5) for rank in range(3)]
    assert result.stdout == f"{[0, 0, 0]} {answers} 5005\n", result.stderr


def test_a_store_without_masks_or_boxes_says_so(tmp_path: Path) -> None:
    """Asking for what was never built names the store."""
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        writer.add(b"x", label=-1, height=1, width=1, name="a")
    store = ImageStore(tmp_path / "s.lmdb")
    with pytest.raises(InputError, match="has no mask"):
        store.mask(0)
    with pytest.raises(InputError, match="has no boxes"):
        store.boxes(0)
    assert not store.has_mask(0) and store.statistics is None


@pytest.mark.perf
def test_opening_takes_no_time_per_sample(tmp_path: Path) -> None:
    """A million samples open in far less than a CPU second: columns are views, hashed without a loop."""
    count = 1_000_000
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        writer.add(b"x", label=-1, height=2, width=3, name="n")
        for name, column in writer._columns.items():  # as if a million samples had been added
            repeated = column[:2] if name == "sizes" else column[:1]
            column.extend(array("q", range(2, count + 1)) if name == "name_offsets" else repeated * (count - 1))
    begun = time.process_time()
    store = ImageStore(tmp_path / "s.lmdb")
    assert time.process_time() - begun < 0.5
    assert len(store) == count and store.names[count - 1] == "n" and store.sizes[count - 1].tolist() == [2, 3]


def test_boxes_of_the_first_stores_are_read(tmp_path: Path) -> None:
    """Records of K x 4 float32 and K int64 classes, as they were without flags: no object of theirs is difficult."""
    record = np.arange(8, dtype="<f4").tobytes() + np.array([1, 300], "<i8").tobytes()
    xyxy, labels, difficult, _ = store_format.decode_boxes(record, 2)
    assert xyxy.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]] and labels.tolist() == [1, 300]
    assert difficult.tolist() == [False, False]
    assert store_format.encode_boxes(Boxes(xyxy, labels, difficult)) == record


def test_objects_of_all_images_come_at_once(path: Path, tmp_path: Path) -> None:
    """They are those of each image's own record, in order; a store in which nothing is annotated has none."""
    store = ImageStore(path)
    images, labels, difficult = store.objects()
    assert images.tolist() == [i for i in range(len(store)) for _ in store.boxes(i).labels]
    assert labels.tolist() == [label for i in range(len(store)) for label in store.boxes(i).labels]
    assert difficult.tolist() == [flag for i in range(len(store)) for flag in store.boxes(i).difficult]
    with StoreWriter(tmp_path / "none.lmdb", classes="a", has_boxes=True) as writer:
        writer.add(b"x", label=0, height=1, width=1, name="n")
    assert [len(part) for part in ImageStore(tmp_path / "none.lmdb").objects()] == [0, 0, 0]


def test_a_store_without_ids_and_areas_says_so(path: Path) -> None:
    """As all of them were once: None, and the areas of objects are those of their boxes."""
    store = ImageStore(path)
    assert (store.image_ids, store.source_sizes, store.category_ids, store.boxes(1).areas) == (None,) * 4
    assert store.boxes(1).object_areas().tolist() == [4.0]

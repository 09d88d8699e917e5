"""Laws of building a store: whole or not at all, the same bytes for the same input, every failure one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.store.boxes import Boxes, none_found
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

_KILLED = """
import sys, time
from sdali.pipelines.store import writer as store_write
writer = store_write.StoreWriter(sys.argv[1], classes=["a"], overwrite=True)
writer.__enter__()
for i in range(100):
    writer.add(b"x" * 5000, label=0, height=1, width=1, name=str(i))
print(writer.partial.stat().st_size > 100_000, flush=True)
time.sleep(60)
"""

_FULL_DISK = """
import resource, sys
from sdali.pipelines.store import writer as store_write
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    with store_write.StoreWriter(sys.argv[1], classes=[]) as writer:
        for i in range(100):
            writer.add(b"x" * 50_000, label=-1, height=1, width=1, name=str(i))
except ValueError as error:
    print(error)
"""


def _build(path: Path, count: int = 20, size: int = 3000, **options: object) -> None:
    with StoreWriter(path, classes=["a", "b"], provenance={"by": "test"}, **options) as writer:  # type: ignore[arg-type]
        for i in range(count):
            writer.add(bytes([i]) * (size + i), label=i % 2, height=10 + i, width=20, name=f"b/{i}.jpg")


def _leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_added_is_read(tmp_path: Path) -> None:
    """Every field comes back, the CRC32 columns are zlib's, and only the store lies in the folder."""
    _build(tmp_path / "s.lmdb")
    store = ImageStore(tmp_path / "s.lmdb")
    assert _leftovers(tmp_path) == ["s.lmdb"]
    assert (len(store), store.classes, store.has_masks, store.has_boxes) == (20, ("a", "b"), False, False)
    assert store.labels.tolist() == [i % 2 for i in range(20)] and store.labels.dtype == np.int64
    assert store.sizes.tolist() == [[10 + i, 20] for i in range(20)] and store.sizes.dtype == np.int32
    assert [bytes(view) for view in store.read(range(20))] == [bytes([i]) * (3000 + i) for i in range(20)]
    assert store._crc32.tolist() == [zlib.crc32(bytes([i]) * (3000 + i)) for i in range(20)]
    assert store.header["provenance"] == {"by": "test"}


def test_the_file_is_lmdb_0_9_with_ordered_keys(tmp_path: Path) -> None:
    """LMDB itself, without our reader, finds 8-byte big-endian keys in index order, and data format 1."""
    _build(tmp_path / "s.lmdb")
    environment = lmdb.open(str(tmp_path / "s.lmdb"), subdir=False, readonly=True, lock=False, max_dbs=8)
    assert environment.lib_version()[:2] == (0, 9)
    images = environment.open_db(b"images", create=False)
    with environment.begin() as transaction:
        keys = [key for key, _ in transaction.cursor(images)]
    environment.close()
    assert keys == [i.to_bytes(8, "big") for i in range(20)]


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=8))
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    """Names come back as they were: Chinese, empty, of several lines."""
    path = tmp_path_factory.mktemp("names") / "s.lmdb"
    with StoreWriter(path, classes=()) as writer:
        for name in names:
            writer.add(b"x", label=-1, height=1, width=1, name=name)
    assert list(ImageStore(path).names) == names


def test_a_name_that_is_no_unicode_survives(tmp_path: Path) -> None:
    """A file name of arbitrary bytes, as the system hands it over, comes back to the byte."""
    name = os.fsdecode(b"\xff\xfe\x80.jpg")
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        writer.add(b"x", label=-1, height=1, width=1, name=name)
    assert os.fsencode(ImageStore(tmp_path / "s.lmdb").names[0]) == b"\xff\xfe\x80.jpg"


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    """Two builds of the same samples are the same file, byte for byte."""
    _build(tmp_path / "a.lmdb")
    _build(tmp_path / "b.lmdb")
    assert (tmp_path / "a.lmdb").read_bytes() == (tmp_path / "b.lmdb").read_bytes()


@pytest.mark.parametrize("change", ["data", "label", "height", "name", "classes"])
def test_the_digest_tells_every_difference(tmp_path: Path, change: str) -> None:
    """A store that differs in any one thing has another digest; provenance is no part of it."""
    fields = {"data": b"x", "label": 0, "height": 5, "name": "n"}
    others = {"data": b"y", "label": 1, "height": 6, "name": "m"}
    digests = []
    for path, values, classes, provenance in (
        ("a", fields, ["a", "b"], {}),
        ("b", fields, ["a", "b"], {"other": 1}),
        ("c", {**fields, change: others.get(change)}, ["a", "b"], {}),
    ):
        if change == "classes" and path == "c":
            values, classes = fields, ["a", "c"]
        with StoreWriter(tmp_path / path, classes=classes, provenance=provenance) as writer:
            writer.add(**values, width=3)  # type: ignore[arg-type]
        digests.append(ImageStore(tmp_path / path).digest)
    assert digests[0] == digests[1] != digests[2]


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    """Whatever is raised inside the block, no store and no partial file remain."""
    with pytest.raises(ZeroDivisionError), StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        writer.add(b"x", label=-1, height=1, width=1, name="a")
        raise ZeroDivisionError
    with pytest.raises(InputError, match="no image for"), StoreWriter(tmp_path / "s.lmdb", classes=()):
        pass
    assert _leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_killed_build_leaves_no_store_and_the_next_one_works(tmp_path: Path) -> None:
    """After SIGKILL with records on disk the old store is still whole, and a new build reuses the partial file."""
    path = tmp_path / "s.lmdb"
    _build(path)
    digest = ImageStore(path).digest
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"True\n"
    with pytest.raises(InputError, match="is being built by another process"):
        _build(path, overwrite=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert _leftovers(tmp_path) == ["s.lmdb", "s.lmdb.partial"]
    assert ImageStore(path).digest == digest
    _build(path, count=7, overwrite=True)
    assert len(ImageStore(path)) == 7 and _leftovers(tmp_path) == ["s.lmdb"]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1 << 20, 5_330_000], ids=["while-adding", "at-the-end"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """Where the file cannot grow, the message names the store, and neither store nor partial file remain."""
    command = [sys.executable, "-c", _FULL_DISK, str(tmp_path / "s.lmdb"), str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith(f"cannot write {tmp_path / 's.lmdb'}: ")
    assert result.stdout.endswith(": the disk is full, it seems; free space on it, or choose another folder\n")
    assert _leftovers(tmp_path) == []


def test_an_existing_store_is_kept_unless_told(tmp_path: Path) -> None:
    """Without `overwrite` the target is refused; with it, who has the old store open keeps reading the old one."""
    path = tmp_path / "s.lmdb"
    _build(path)
    with pytest.raises(InputError, match="exists already"):
        _build(path)
    old = ImageStore(path)
    _build(path, count=3, overwrite=True)
    assert len(old.read(range(20))) == 20 and len(ImageStore(path)) == 3


def test_targets_that_cannot_be(tmp_path: Path) -> None:
    """A folder as target, and a target in a folder that does not exist, are named."""
    with pytest.raises(InputError, match="is a folder"):
        StoreWriter(tmp_path, classes=())
    with pytest.raises(InputError, match=r"cannot write .*none/s\.lmdb: there is no folder"):
        StoreWriter(tmp_path / "none" / "s.lmdb", classes=())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"data": b""}, "has no bytes"),
        ({"label": 2}, "has label 2, outside the 2 classes"),
        ({"label": -2}, "has label -2"),
        ({"height": 0}, "has the size 0 x 1"),
        ({"mask": b"png"}, "has a mask, but the store was declared without"),
        (
            {"boxes": none_found()},
            "has boxes, but the store was declared without",
        ),
    ],
)
def test_samples_that_contradict_the_store(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    """Each is refused by name."""
    sample = {"data": b"x", "label": 0, "height": 1, "width": 1, "name": "cat/1.jpg", **values}
    with pytest.raises(InputError, match=f"cat/1.jpg {reason}"), StoreWriter(tmp_path / "s", classes="ab") as writer:
        writer.add(**sample)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "label", "reason"), [(2, 0, "not K x 4"), (3, 1, "has a box of none of the 1 classes"), (3, -1, "none")]
)
def test_boxes_are_k_by_4(tmp_path: Path, count: int, label: int, reason: str) -> None:
    """Boxes whose shape does not fit their classes, or whose classes the store does not have, are refused."""
    boxes = Boxes(np.zeros((count, 4)), np.full(3, label), np.zeros(3, bool))
    with (
        pytest.raises(InputError, match=reason),
        StoreWriter(tmp_path / "s", classes="a", has_boxes=True) as writer,
    ):
        writer.add(b"x", label=0, height=1, width=1, name="n", boxes=boxes)

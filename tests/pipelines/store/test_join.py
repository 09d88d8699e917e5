"""Joined and sharded stores exist whole or not at all, whoever builds them, and from wherever their files come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import make_store

from sdali.benchmarks.scenes.source import scenes
from sdali.cli import main as cli
from sdali.pipelines import ImageStore
from sdali.pipelines.build.build import build
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import silent
from sdali.pipelines.store import join as store_join
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.format import encode_boxes
from sdali.pipelines.store.join import ShardedWriter, join
from sdali.pipelines.store.writer import StoreWriter

KILLED = """
import os, signal, sys
from sdali.pipelines.store import join as store_join
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.format import encode_boxes
from sdali.pipelines.build.build import build
from sdali.pipelines.io.progress import silent
from sdali.benchmarks.scenes.source import scenes

store_join.write_atomically = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
build(scenes(20, seed=3), sys.argv[1], shard_bytes=100_000, progress=silent)
"""


def single(path: Path, name: str = "x", classes: str = "ab", image_id: int | None = None, **declaration: Any) -> Path:
    with StoreWriter(path, classes=classes, **declaration) as writer:
        writer.add(b"bytes", label=0, height=4, width=5, name=name, image_id=image_id)
    return path


def test_joined_files_are_one_store(tmp_path: Path) -> None:
    """In their order; files below the same folder go with it when it moves, others are found where they are."""
    (tmp_path / "a").mkdir()
    first, second = make_store(tmp_path / "a" / "1.lmdb", 9), make_store(tmp_path / "2.lmdb", 5)
    digest = join(tmp_path / "a" / "both", [first.path, second.path])
    (tmp_path / "a").rename(tmp_path / "b")
    both = ImageStore(tmp_path / "b" / "both")
    assert both.digest == digest
    assert list(both.names) == [*first.names, *second.names]
    assert [bytes(v) for v in both.read(range(14))] == [
        bytes(v) for s in (first, second) for v in s.read(range(len(s)))
    ]
    assert both.header["shards"][0]["file"] == "../1.lmdb"


def written(path: Path, classes: str, samples: list[tuple[str, str, str]]) -> Path:
    """Samples (name, class or "", classes of the boxes), all with the classes' numbers among `classes`."""
    with StoreWriter(path, classes=classes, has_boxes=True) as writer:
        for name, label, objects in samples:
            xyxy = np.arange(4 * len(objects), dtype=np.float32).reshape(-1, 4)
            labels = np.array([classes.index(one) for one in objects], np.int64)
            boxes = Boxes(xyxy, labels, np.arange(len(labels)) == 1) if objects else None
            number = classes.index(label) if label else -1
            writer.add(b"bytes of " + name.encode(), label=number, height=9, width=9, name=name, boxes=boxes)
    return path


def test_joined_classes_are_united_by_name(tmp_path: Path) -> None:
    """Labels and boxes get the numbers of the union; the digest is that of one file with the same content."""
    parts = [
        ("ab", [("1", "b", "ab"), ("2", "", "")]),
        ("", [("3", "", "")]),
        ("bca", [("4", "c", "abc"), ("5", "a", "")]),
    ]
    samples = [sample for _, some in parts for sample in some]
    files = [written(tmp_path / f"{number}.lmdb", *part) for number, part in enumerate(parts)]
    assert join(tmp_path / "s", files) == ImageStore(written(tmp_path / "one.lmdb", "abc", samples)).digest
    joined = ImageStore(tmp_path / "s")
    assert joined.classes == ("a", "b", "c") and joined.labels.tolist() == [1, -1, -1, 2, 0]
    found = ["".join(joined.classes[label] for label in joined.boxes(index).labels) for index in range(5)]
    assert found == [objects for _, _, objects in samples]
    assert "".join(joined.classes[label] for label in joined.objects().labels) == "".join(found)
    flags = np.concatenate([joined.boxes(index).difficult for index in range(5)])
    np.testing.assert_array_equal(flags, joined.objects().difficult)


def test_the_digest_of_a_join_is_of_the_classes_that_are_meant(tmp_path: Path) -> None:
    """Whatever their numbers in the files: equal records of other classes differ, other records of the same do not."""
    one = written(tmp_path / "1.lmdb", "ab", [("1", "a", "b")])
    digests = {}
    for classes in ("ab", "ba"):
        for objects in ("a", "b"):
            second = written(tmp_path / f"{classes}{objects}.lmdb", classes, [("2", "b", objects)])
            digests[classes, objects] = join(tmp_path / f"{classes}{objects}", [one, second])
    assert digests["ab", "a"] == digests["ba", "a"] != digests["ab", "b"] == digests["ba", "b"]


def test_damage_of_boxes_is_no_part_of_a_join(tmp_path: Path) -> None:
    """A new checksum would hide it."""
    first = written(tmp_path / "1.lmdb", "a", [("1", "a", "a")])
    second = written(tmp_path / "2.lmdb", "ba", [("2", "a", "ba")])
    record = encode_boxes(ImageStore(second).boxes(0))
    data = second.read_bytes()
    assert data.count(record) == 1
    second.write_bytes(data.replace(record, record[:3] + b"\x7f" + record[4:]))
    with pytest.raises(InputError, match=r"the boxes of sample 0 of .*2\.lmdb are damaged"):
        join(tmp_path / "s", [first, second])
    assert not (tmp_path / "s").exists()


def test_a_build_in_shards_is_the_build_in_one_file(tmp_path: Path) -> None:
    """With a split and masks and boxes: the same digests, and the report counts the same images."""
    options: dict[str, Any] = {"split": 0.7, "progress": silent}
    whole = build(scenes(30, seed=3, objects=2), tmp_path / "one.lmdb", **options)
    report = build(scenes(30, seed=3, objects=2), tmp_path / "many.lmdb", shard_bytes=100_000, **options)
    assert report["images"] == whole["images"] == 30
    for name, other in zip(report["stores"], whole["stores"], strict=True):
        assert ImageStore(name).digest == ImageStore(other).digest
        assert len(ImageStore(name).header["shards"]) > 1 or len(ImageStore(name)) < 12
    assert report["bytes"] == sum(ImageStore(name).file_bytes for name in report["stores"])


@pytest.mark.slow
def test_a_killed_build_leaves_no_store_and_is_begun_again(tmp_path: Path) -> None:
    """Killed when all but the header is written: nothing has the store's name; the next build makes it."""
    path = tmp_path / "s"
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    assert [file.name for file in tmp_path.iterdir()] == ["s.partial"]
    with pytest.raises(InputError, match="is a folder, not an image store"):
        ImageStore(tmp_path / "s.partial")
    build(scenes(20, seed=3), path, shard_bytes=100_000, progress=silent)
    assert len(ImageStore(path)) == 20
    assert [file.name for file in tmp_path.iterdir()] == ["s"]


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for a bad sample, nor for a disk that is full at the end, nor for nothing to build."""
    writer = ShardedWriter(tmp_path / "s", classes="ab", shard_bytes=10)
    writer.add(b"bytes", label=0, height=4, width=5, name="x")
    with pytest.raises(InputError, match="has label 7"):
        writer.add(b"bytes", label=7, height=4, width=5, name="y")
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    writer = ShardedWriter(tmp_path / "s", classes="ab", shard_bytes=10)
    with pytest.raises(InputError, match=r"no image for .*s; name a source"):
        writer.finish()
    writer.discard()

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(store_join, "write_atomically", full)
    with pytest.raises(InputError, match="the disk is full"):
        build(scenes(4, seed=3), tmp_path / "s", shard_bytes=10, progress=silent)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    """Not even with overwrite; and two builders do not meet."""
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    (photographs / "dear.jpg").touch()
    with pytest.raises(InputError, match="photographs exists already and is no folder of a store"):
        build(scenes(4, seed=3), photographs, shard_bytes=10, overwrite=True, progress=silent)
    assert [file.name for file in tmp_path.rglob("*")] == ["photographs", "dear.jpg"]
    first = ShardedWriter(tmp_path / "s", classes="ab", shard_bytes=10)
    with pytest.raises(InputError, match="s is being built by another process"):
        ShardedWriter(tmp_path / "s", classes="ab", shard_bytes=10)
    first.discard()


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    """Other classes or annotations, a store twice, a folder, no store, no file; nothing is left behind."""
    first = single(tmp_path / "1.lmdb")
    cases = {
        "has other classes of pixels than": [
            single(tmp_path / "2.lmdb", has_masks=True, ignore_index=255),
            single(tmp_path / "7.lmdb", classes="abc", has_masks=True, ignore_index=255),
        ],
        "has 2 classes called 'a'": [first, single(tmp_path / "8.lmdb", classes="aba")],
        "has other category ids than": [first, single(tmp_path / "9.lmdb", image_id=1, category_ids=[1, 2])],
        "has other masks or boxes than": [first, single(tmp_path / "3.lmdb", has_masks=True)],
        "holds the same images as": [first, single(tmp_path / "4.lmdb", "y"), single(tmp_path / "5.lmdb")],
        "is a folder": [first, tmp_path],
        "6.lmdb does not exist": [first, tmp_path / "6.lmdb"],
        "no files for": [],
    }
    for sentence, files in cases.items():
        with pytest.raises(InputError, match=sentence):
            join(tmp_path / "s", files)
    assert not list(tmp_path.glob("s*"))


@pytest.mark.slow
def test_the_commands_take_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`build --shard-gb`, `join`, `info --verify` and `stats`, and the sentence for no size at all."""

    def run(*words: object) -> dict[str, Any]:
        assert cli.main([str(word) for word in words]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    folder, joined = tmp_path / "s", tmp_path / "joined"
    run("build", 12, folder, "--format", "scenes", "--shard-gb", 0.0001)
    files = sorted(folder.glob("*.lmdb"))
    assert len(files) > 1
    assert run("join", joined, *files)["images"] == 12
    assert run("stats", joined)["file"] == str(tmp_path / "joined.stats.json")
    told, other = (run("info", path, "--verify") for path in (joined, folder))
    assert told["verified"] and told["digest"] == other["digest"] and told["bytes"] == other["bytes"] > 0
    assert told["statistics"] and not other["statistics"]
    assert cli.main(["build", "12", str(tmp_path / "t"), "--format", "scenes", "--shard-gb", "0"]) == 2
    assert "--shard-gb must be above 0" in capsys.readouterr().err

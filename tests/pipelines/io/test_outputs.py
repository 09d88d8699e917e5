"""Where results may be written: a slip in a command line destroys nothing, and nothing hangs."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pytest
from pictures import jpeg, make_store, photo
from PIL import Image

from sdali.benchmarks.throughput.measure import write_json
from sdali.cams.store.writer import HEATMAP_STORE, HeatmapWriter
from sdali.cli.main import main
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.outputs import (
    ANSWERS,
    DETECTIONS,
    HDF5,
    IMAGE_STORE,
    PNG,
    RECORD,
    STATISTICS,
    Kind,
    check_output,
    check_outputs,
)
from sdali.pipelines.io.small_files import marked, write_output, write_png
from sdali.trainers.localization.predictions import Predictions, write_predictions

PICTURE = Image.new("RGB", (5, 4), "red")


def files_of(folder: Path) -> dict[str, Path]:
    """One file of each kind that sdali writes, and some of the user's own."""
    store = make_store(folder / "images", 3)
    with HeatmapWriter(folder / "maps", count=3, images_digest=store.digest, method="test") as writer:
        writer.put(np.arange(3), np.ones((3, 2, 2), np.uint8))
        writer.finish()
    write_png(folder / "picture", PICTURE)
    write_json(folder / "record", {"machine": {}, "results": []})
    write_output(folder / "statistics", b'{\n  "digest": "abc"\n}\n', STATISTICS)
    write_output(folder / "detections", b'[\n{"image_id": 0}\n]\n', DETECTIONS)
    write_predictions(folder / "answers", [Predictions(np.array([4]), np.array([[0, 1.5, 3e-9, 1e20]]))])
    h5py.File(folder / "hdf5", "w").close()
    own = io.BytesIO()
    PICTURE.save(own, "PNG")
    (folder / "own.png").write_bytes(own.getvalue())
    (folder / "own.jpg").write_bytes(jpeg(photo(0, 20, 20)))
    (folder / "own.json").write_text(json.dumps({"images": [1, 2], "annotations": []}))
    (folder / "own.txt").write_text("a list of names\n")
    return {path.name: path for path in folder.iterdir()}


KINDS = {
    "images": IMAGE_STORE,
    "maps": HEATMAP_STORE,
    "picture": PNG,
    "record": RECORD,
    "statistics": STATISTICS,
    "detections": DETECTIONS,
    "answers": ANSWERS,
    "hdf5": HDF5,
}


def accepts(path: Path, kind: Kind) -> bool:
    """Whether a file may be replaced by such an output."""
    try:
        check_output(path, kind)
    except InputError as error:
        assert str(error) == f"{path} exists already and is not {kind.name}; remove it, or name another file"
        return False
    return True


def test_an_output_replaces_only_its_own_kind(tmp_path: Path) -> None:
    """Of all kinds and of the user's own files, each takes the place of itself alone; anything that of an empty one."""
    files = files_of(tmp_path)
    for name, kind in KINDS.items():
        assert [other for other, path in files.items() if accepts(path, kind)] == [name]
        (tmp_path / "empty").touch()
        assert accepts(tmp_path / "empty", kind) and accepts(tmp_path / "new", kind)


def test_a_damaged_store_may_be_built_again(tmp_path: Path) -> None:
    """A truncated store of ours is replaced; a file that only begins with other bytes is not."""
    store = make_store(tmp_path / "s", 5).path
    store.write_bytes(store.read_bytes()[:-5000])
    assert accepts(store, IMAGE_STORE)
    store.write_bytes(b"x" * 5000)
    assert not accepts(store, IMAGE_STORE)


@pytest.mark.parametrize("kind", [PNG, IMAGE_STORE, HDF5], ids=lambda kind: kind.name)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: Kind) -> None:
    """Folders, pipes, devices, links whether or not they lead anywhere, places in no folder."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "link").symlink_to("/dev/null")
    for path, sentence in {
        tmp_path: "is a folder",
        tmp_path / "pipe": "is a device or a pipe",
        Path("/dev/zero"): "is a device or a pipe",
        tmp_path / "dangling": "is a link to .*nothing",
        tmp_path / "none" / "x": "there is no folder .*none; make it",
    }.items():
        with pytest.raises(InputError, match=sentence):
            check_output(path, kind)
    assert not (tmp_path / "nothing").exists()


def test_dev_null_stays_a_device(tmp_path: Path) -> None:
    """What is written at once may go there; what is renamed into place would replace it and is refused."""
    before = os.stat(os.devnull)
    write_png(os.devnull, PICTURE)
    write_json(Path(os.devnull), {"machine": {}})
    for kind in (IMAGE_STORE, HEATMAP_STORE, HDF5):
        with pytest.raises(InputError, match="/dev/null is a device or a pipe"):
            check_output(Path(os.devnull), kind)
    assert os.path.samestat(before, os.stat(os.devnull))


@dataclass
class Options:
    """Of a command."""

    store: Path
    others: tuple[Path, ...] = ()
    picture: Path | None = None
    out: Path | None = None
    overwrite: bool = True


def test_outputs_are_not_inputs_nor_each_other(tmp_path: Path) -> None:
    """By whatever name: another spelling, a link, a second name of the same file."""
    write_png(tmp_path / "a.png", PICTURE)
    os.link(tmp_path / "a.png", tmp_path / "second.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "s.lmdb").symlink_to(tmp_path / "a.png")
    outputs = {"picture": PNG, "out": PNG}
    for options in (
        Options(tmp_path / "a.png", picture=tmp_path / "folder" / ".." / "a.png"),
        Options(tmp_path / "a.png", picture=tmp_path / "second.png"),
        Options(tmp_path / "s.lmdb", picture=tmp_path / "a.png"),
        Options(tmp_path / "x", others=(tmp_path / "y", tmp_path / "a.png"), picture=tmp_path / "a.png"),
        Options(tmp_path / "x", picture=tmp_path / "new.png", out=tmp_path / "new.png"),
    ):
        with pytest.raises(InputError, match=r"is also .* of this very command, which would be lost"):
            check_outputs(options, outputs)
    check_outputs(Options(tmp_path / "x", picture=tmp_path / "a.png", out=tmp_path / "b.png"), outputs)
    with pytest.raises(InputError, match="pass --overwrite"):
        write_output(tmp_path / "h", b"\x89HDF\r\n\x1a\n", PNG)
        check_outputs(Options(tmp_path / "x", out=tmp_path / "h", overwrite=False), {"out": HDF5})


def test_pictures_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that cannot be encoded or renamed leaves the one before it, and nothing else; the mark harms none."""
    write_png(tmp_path / "a.png", PICTURE)
    before = (tmp_path / "a.png").read_bytes()
    assert Image.open(tmp_path / "a.png").convert("RGB").tobytes() == PICTURE.tobytes()
    assert Image.open(io.BytesIO(marked(before))).info["Software"] == "sdali"

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sdali.pipelines.io.publish.os.replace", fail)
    with pytest.raises(InputError, match="the disk is full"):
        write_png(tmp_path / "a.png", Image.new("RGB", (50, 40), "blue"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


COMMANDS = {
    "preview {store} {store}": "store is also .*store of this very command",
    "preview {store} {photo}": "photo.png exists already and is not a PNG that sdali wrote",
    "preview {store} {pipe}": "pipe is a device or a pipe",
    "build {folder} {photo} --overwrite": "photo.png exists already and is not an image store",
    "build {folder} {folder} --shard-gb 1": "photos is also .*photos of this very command",
    "build {folder} /dev/null --overwrite": "/dev/null is a device",
    "cams {store} {store} --from masks --overwrite": "store is also .*store of this very command",
    "cams {store} {other} --from masks --overwrite": "other exists already and is not a heatmap store",
    "confusion {store} --checkpoint {photo} --out {photo} --overwrite": "photo.png is also .*photo.png of this very",
    "evaluate classification --store {store} --checkpoint {photo} --picture {photo}": "photo.png is also",
    "evaluate parsing --store {store} --checkpoint {photo} --picture {pipe}": "pipe is a device or a pipe",
    "evaluate detection --store {store} --checkpoint {other} --predictions {other}": "other is also",
    "evaluate localization --store {store} --read {other} --picture {other}": "other is also",
    "ensemble {photo} --out {photo} --overwrite": "photo.png is also",
    "bench stages --images {folder} --json {photo}": "photo.png exists already and is not a record",
    "bench throughput --images {folder} --chart {photo}": "photo.png exists already and is not a PNG that",
    "train classification --store {store} --val-store {other} --out {store}": "store is also .*store of this very",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_destroy_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Status 2, one sentence before any work, and every file as it was."""
    folder, photo_path = tmp_path / "photos", tmp_path / "photos" / "photo.png"
    folder.mkdir()
    own = io.BytesIO()
    PICTURE.save(own, "PNG")
    photo_path.write_bytes(own.getvalue())
    paths = {name: make_store(tmp_path / name, 4 + len(name)).path for name in ("store", "other")}
    os.mkfifo(tmp_path / "pipe")
    before = {path: path.read_bytes() for path in (*paths.values(), photo_path)}
    given = words.format(**paths, folder=folder, photo=photo_path, pipe=tmp_path / "pipe").split()
    assert main(given) == 2
    error = capsys.readouterr().err
    with pytest.raises(InputError, match=COMMANDS[words]):
        raise InputError(error)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "photos", "pipe", "store"]

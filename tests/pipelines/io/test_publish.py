"""Writing files: a slip destroys nothing, a file is whole or not there, and one builder at a time makes a store."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from pictures import make_store
from PIL import Image

from sdali.cli.main import main
from sdali.pipelines.errors import InputError
from sdali.pipelines.io import publish as store_publish
from sdali.pipelines.io.publish import (
    PartialFile,
    PartialFolder,
    check_output,
    check_outputs,
    write_atomically,
    write_file,
    write_json,
    write_png,
)

PICTURE = Image.new("RGB", (5, 4), "red")


@dataclass
class Options:
    """Of a command."""

    store: Path
    others: tuple[Path, ...] = ()
    picture: Path | None = None
    out: Path | None = None
    overwrite: bool = True


@pytest.mark.parametrize("kind", ["file", "empty file", "link", "dangling link"])
def test_nothing_that_exists_is_replaced_without_overwrite(tmp_path: Path, kind: str) -> None:
    """Files of any content and links are refused with one sentence; with overwrite the name leads to the new file, and
    what a link led to is as it was.
    """
    path, target = tmp_path / "x", tmp_path / "target"
    if kind == "link":
        target.write_bytes(b"precious")
    if "link" in kind:
        path.symlink_to(target)
    else:
        path.write_bytes(b"" if kind == "empty file" else b"precious")
    with pytest.raises(InputError) as refusal:
        write_file(path, b"new")
    assert str(refusal.value) == f"{path} exists already; remove it, name another file, or pass overwrite=True"
    with pytest.raises(InputError, match="exists already"):
        PartialFile(path, overwrite=False)
    assert os.path.lexists(path) and sorted(p.name for p in tmp_path.iterdir() if p.name not in ("x", "target")) == []
    write_file(path, b"new", overwrite=True)
    assert path.read_bytes() == b"new" and not path.is_symlink()
    assert not target.exists() if kind != "link" else target.read_bytes() == b"precious"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Folders, pipes, devices, and paths in no folder, also with overwrite."""
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in {
        tmp_path: "is a folder",
        tmp_path / "pipe": "is a device or a pipe",
        Path("/dev/zero"): "is a device or a pipe",
        tmp_path / "none" / "x": "there is no folder .*none; make it",
    }.items():
        for overwrite in (False, True):
            with pytest.raises(InputError, match=sentence):
                check_output(path, overwrite=overwrite)
            with pytest.raises(InputError, match=sentence):
                PartialFile(path, overwrite=overwrite)


def test_dev_null_stays_a_device() -> None:
    """What is written at once may go there; what is renamed into place would replace it and is refused."""
    before = os.stat(os.devnull)
    write_png(os.devnull, PICTURE)
    write_json(Path(os.devnull), {"machine": {}})
    with pytest.raises(InputError, match="/dev/null: it is a device or a pipe"):
        PartialFile(Path(os.devnull), overwrite=True)
    assert os.path.samestat(before, os.stat(os.devnull))


def test_outputs_are_not_inputs_nor_each_other(tmp_path: Path) -> None:
    """By whatever name: another spelling, a link, a second name of the same file; also with overwrite."""
    write_png(tmp_path / "a.png", PICTURE)
    os.link(tmp_path / "a.png", tmp_path / "second.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "s.lmdb").symlink_to(tmp_path / "a.png")
    for options in (
        Options(tmp_path / "a.png", picture=tmp_path / "folder" / ".." / "a.png"),
        Options(tmp_path / "a.png", picture=tmp_path / "second.png"),
        Options(tmp_path / "s.lmdb", picture=tmp_path / "a.png"),
        Options(tmp_path / "x", others=(tmp_path / "y", tmp_path / "a.png"), picture=tmp_path / "a.png"),
        Options(tmp_path / "x", picture=tmp_path / "new.png", out=tmp_path / "new.png"),
    ):
        with pytest.raises(InputError, match=r"is also .* of this very command, which would be lost"):
            check_outputs(options, "picture", "out")
    check_outputs(Options(tmp_path / "x", picture=tmp_path / "a.png", out=tmp_path / "b.png"), "picture", "out")
    check_outputs(Options(tmp_path / "x", picture=Path(os.devnull), out=Path(os.devnull)), "picture", "out")
    with pytest.raises(InputError, match="exists already"):
        check_outputs(Options(tmp_path / "x", picture=tmp_path / "a.png", overwrite=False), "picture", "out")


def test_pictures_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that cannot be renamed leaves the one before it, and nothing else."""
    write_png(tmp_path / "a.png", PICTURE)
    before = (tmp_path / "a.png").read_bytes()
    assert Image.open(tmp_path / "a.png").convert("RGB").tobytes() == PICTURE.tobytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_publish.os, "replace", fail)
    with pytest.raises(InputError, match="the disk is full"):
        write_png(tmp_path / "a.png", Image.new("RGB", (50, 40), "blue"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


def test_a_folder_is_replaced_only_where_it_is_a_store(tmp_path: Path) -> None:
    """Without overwrite never; with it where the marker lies in it, and then no trace of the old one stays."""
    target = tmp_path / "s"
    target.mkdir()
    (target / "photo.jpg").write_bytes(b"precious")
    for overwrite, sentence in ((False, "exists already; remove it, name another"), (True, "is no folder of a store")):
        with pytest.raises(InputError, match=sentence):
            PartialFolder(target, marker="header.json", overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["s"] and (target / "photo.jpg").exists()
    (target / "header.json").write_bytes(b"{}")
    folder = PartialFolder(target, marker="header.json", overwrite=True)
    (folder.path / "new").write_bytes(b"new")
    folder.publish()
    assert [path.name for path in tmp_path.iterdir()] == ["s"] and [path.name for path in target.iterdir()] == ["new"]


COMMANDS = {
    "preview {store} {store}": "store is also .*store of this very command",
    "preview {store} {photo}": "photo.png exists already; remove it, name another file, or pass --overwrite",
    "preview {store} {pipe} --overwrite": "pipe: it is a device or a pipe",
    "build {folder} {photo}": "photo.png exists already; remove it, name another file, or pass --overwrite",
    "build {folder} {folder} --shard-gb 1 --overwrite": "photos is also .*photos of this very command",
    "build {folder} /dev/null --overwrite": "/dev/null: it is a device",
    "join {folder} {store} {other} --overwrite": "photos exists already and is no folder of a store",
    "cams {store} {store} --from masks --overwrite": "store is also .*store of this very command",
    "cams {store} {other} --from masks": "other exists already; remove it, name another file, or pass --overwrite",
    "confusion {store} --checkpoint {photo} --out {photo} --overwrite": "photo.png is also .*photo.png of this very",
    "evaluate classification --store {store} --checkpoint {photo} --picture {photo}": "photo.png is also",
    "evaluate classification --store {store} --checkpoint {photo} --predictions {other}": "other exists .* --overwrite",
    "evaluate parsing --store {store} --checkpoint {photo} --picture {pipe} --overwrite": "pipe: it is a device",
    "evaluate detection --store {store} --checkpoint {other} --predictions {other}": "other is also",
    "evaluate localization --store {store} --read {other} --picture {other}": "other is also",
    "ensemble {photo} --out {photo} --overwrite": "photo.png is also",
    "bench stages --images {folder} --json {photo}": "photo.png exists already; .* --overwrite",
    "bench throughput --images {folder} --chart {photo}": "photo.png exists already; .* --overwrite",
    "train classification --store {store} --val-store {other} --out {store}": "store is also .*store of this very",
}


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_destroy_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """Status 2, one sentence before any work, and every file as it was."""
    folder, photo_path = tmp_path / "photos", tmp_path / "photos" / "photo.png"
    folder.mkdir()
    write_png(photo_path, PICTURE)
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


def test_a_locked_partial_file_is_refused(tmp_path: Path) -> None:
    """While one builder holds the file another gets a sentence; afterwards it is free."""
    first = PartialFile(tmp_path / "s", overwrite=False)
    with pytest.raises(InputError, match="being built by another process"):
        PartialFile(tmp_path / "s", overwrite=False)
    first.discard()
    PartialFile(tmp_path / "s", overwrite=False).discard()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_holds_is_emptied_and_reused(tmp_path: Path) -> None:
    """A partial file without a holder is a killed builder's: its content goes."""
    (tmp_path / "s.partial").write_bytes(b"half a store")
    partial = PartialFile(tmp_path / "s", overwrite=False)
    assert partial.path.read_bytes() == b""
    partial.discard()


def test_a_racing_builder_does_not_truncate_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published between the other's open and its lock, the store keeps its bytes; the other gets a new file."""
    first = PartialFile(tmp_path / "s", overwrite=False)
    first.path.write_bytes(b"a whole store")
    real = fcntl.flock
    published = []

    def publish_then_lock(descriptor: int, operation: int) -> None:
        if not published:
            published.append(True)
            first.publish()
        real(descriptor, operation)

    monkeypatch.setattr(store_publish.fcntl, "flock", publish_then_lock)
    second = PartialFile(tmp_path / "s", overwrite=True)
    assert (tmp_path / "s").read_bytes() == b"a whole store"
    assert second.path.read_bytes() == b"" and not second.path.samefile(tmp_path / "s")
    second.discard()
    assert (tmp_path / "s").read_bytes() == b"a whole store"


def test_discard_after_publish_does_nothing(tmp_path: Path) -> None:
    """Neither the published file nor a newer partial file is touched."""
    first = PartialFile(tmp_path / "s", overwrite=False)
    first.publish()
    second = PartialFile(tmp_path / "s", overwrite=True)
    first.discard()
    assert (tmp_path / "s").exists() and second.path.exists()
    second.discard()


def test_small_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure before the rename leaves the old content and no litter."""
    write_atomically(tmp_path / "f", b"old")

    def fail(*_: object) -> None:
        raise OSError("no rename today")

    monkeypatch.setattr(store_publish.os, "replace", fail)
    with pytest.raises(OSError, match="no rename"):
        write_atomically(tmp_path / "f", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.parametrize("begin", ["file", "folder"])
def test_a_link_in_place_of_a_partial_store_is_not_followed(tmp_path: Path, begin: str) -> None:
    """What it leads to is neither emptied nor cleared."""
    precious = tmp_path / "precious"
    (precious / "folder").mkdir(parents=True)
    for path in (precious / "file", precious / "folder" / "inside"):
        path.write_bytes(b"precious")
    (tmp_path / "s.partial").symlink_to(precious / begin)
    with pytest.raises(OSError, match=r"symbolic link|Not a directory"):
        if begin == "file":
            PartialFile(tmp_path / "s", overwrite=True)
        else:
            PartialFolder(tmp_path / "s", marker="header.json")
    assert (precious / "file").read_bytes() == (precious / "folder" / "inside").read_bytes() == b"precious"
    assert not (tmp_path / "s").exists()


def test_a_pipe_in_place_of_unfinished_work_is_not_waited_for(tmp_path: Path) -> None:
    """It is refused at once, and nothing gets the target's name."""
    os.mkfifo(tmp_path / "s.partial")
    with pytest.raises(OSError, match="Invalid argument"):
        PartialFile(tmp_path / "s", overwrite=True)
    assert not (tmp_path / "s").exists()

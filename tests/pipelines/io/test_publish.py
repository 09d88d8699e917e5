"""The partial file: one builder at a time, and no builder can ever harm what another has published."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io import publish as store_publish
from sdali.pipelines.io.outputs import Kind
from sdali.pipelines.io.publish import PartialFile, PartialFolder, write_atomically

ANY = Kind("anything", lambda path: True, flagged=True)


def test_a_locked_partial_file_is_refused(tmp_path: Path) -> None:
    """While one builder holds the file another gets a sentence; afterwards it is free."""
    first = PartialFile(tmp_path / "s", ANY, overwrite=False)
    with pytest.raises(InputError, match="being built by another process"):
        PartialFile(tmp_path / "s", ANY, overwrite=False)
    first.discard()
    PartialFile(tmp_path / "s", ANY, overwrite=False).discard()
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_holds_is_emptied_and_reused(tmp_path: Path) -> None:
    """A partial file without a holder is a killed builder's: its content goes."""
    (tmp_path / "s.partial").write_bytes(b"half a store")
    partial = PartialFile(tmp_path / "s", ANY, overwrite=False)
    assert partial.path.read_bytes() == b""
    partial.discard()


def test_a_racing_builder_does_not_truncate_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published between the other's open and its lock, the store keeps its bytes; the other gets a new file."""
    first = PartialFile(tmp_path / "s", ANY, overwrite=False)
    first.path.write_bytes(b"a whole store")
    real = fcntl.flock
    published = []

    def publish_then_lock(descriptor: int, operation: int) -> None:
        if not published:
            published.append(True)
            first.publish()
        real(descriptor, operation)

    monkeypatch.setattr(store_publish.fcntl, "flock", publish_then_lock)
    second = PartialFile(tmp_path / "s", ANY, overwrite=True)
    assert (tmp_path / "s").read_bytes() == b"a whole store"
    assert second.path.read_bytes() == b"" and not second.path.samefile(tmp_path / "s")
    second.discard()
    assert (tmp_path / "s").read_bytes() == b"a whole store"


def test_discard_after_publish_does_nothing(tmp_path: Path) -> None:
    """Neither the published file nor a newer partial file is touched."""
    first = PartialFile(tmp_path / "s", ANY, overwrite=False)
    first.publish()
    second = PartialFile(tmp_path / "s", ANY, overwrite=True)
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


@pytest.mark.parametrize("begin", ["file", "folder", "small"])
def test_a_link_in_place_of_unfinished_work_is_not_followed(tmp_path: Path, begin: str) -> None:
    """Whoever may write into a folder could else have any file of ours emptied, or a folder of ours cleared."""
    precious = tmp_path / "precious"
    (precious / "folder").mkdir(parents=True)
    for path in (precious / "file", precious / "folder" / "inside"):
        path.write_bytes(b"precious")
    if begin == "small":
        (tmp_path / f"s.{os.getpid()}.partial").symlink_to(precious / "file")
    else:
        (tmp_path / "s.partial").symlink_to(precious / begin)
    with pytest.raises(InputError, match=r"s\..*partial is a link, where sdali keeps unfinished work; remove it"):
        if begin == "small":
            write_atomically(tmp_path / "s", b"data")
        elif begin == "file":
            PartialFile(tmp_path / "s", ANY, overwrite=True)
        else:
            PartialFolder(tmp_path / "s")
    assert (precious / "file").read_bytes() == (precious / "folder" / "inside").read_bytes() == b"precious"
    assert not (tmp_path / "s").exists()


def test_a_pipe_in_place_of_unfinished_work_is_not_waited_for(tmp_path: Path) -> None:
    """It is refused at once, and nothing gets the target's name."""
    os.mkfifo(tmp_path / "s.partial")
    os.mkfifo(tmp_path / f"s.{os.getpid()}.partial")
    with pytest.raises(OSError, match="Invalid argument"):
        PartialFile(tmp_path / "s", ANY, overwrite=True)
    with pytest.raises(OSError, match="No such device"):
        write_atomically(tmp_path / "s", b"data")
    assert not (tmp_path / "s").exists()

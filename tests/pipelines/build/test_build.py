"""Building: every kind of bad input is one sentence or a skipped name; what is published is whole and reproducible."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from building import built, decoded, encoded, picture
from PIL import Image

from sdali.pipelines.build.build import split_parts
from sdali.pipelines.errors import InputError
from sdali.pipelines.sources.folder import folder
from sdali.pipelines.sources.source import Loaded, SourceItem
from sdali.pipelines.store.reader import ImageStore


def _bomb() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


def _photographs(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10) -> Path:
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.jpg").write_bytes(encoded(picture(30 + i, 50)))
    return root


_GIF = b"GIF89a" + bytes([1, 0, 1, 0, 0, 0, 0, 44, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 68, 1, 0, 59])
_BAD = {
    "a text.jpg": (b"this is text", "is not an image"),
    "cut.jpg": (encoded(picture())[:-200], "is truncated: the JPEG has no end marker"),
    "zero.jpg": (b"", "is empty"),
    "bomb.png": (_bomb(), "has 40,000 x 40,000 px, more than the 178,956,970 allowed (max_pixels)"),
    "动画.gif": (_GIF, r"format GIF, which DALI does not decode (transcode=True converts it)"),
}


@pytest.mark.parametrize("name", _BAD)
def test_a_bad_file_stops_the_build(tmp_path: Path, name: str) -> None:
    """The sentence names the file, the reason and the way out; nothing is published and nothing left over."""
    data, reason = _BAD[name]
    (_photographs(tmp_path / "p") / "cat" / name).write_bytes(data)
    with pytest.raises(InputError, match=f"cat/{name} .*{re.escape(reason)}; correct or remove it, or pass skip_bad"):
        built(tmp_path / "p", tmp_path / "s.lmdb")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_bad_files_are_skipped_and_listed(tmp_path: Path) -> None:
    """With skip_bad the store holds exactly the good ones, in order, and the report lists every bad one."""
    root = _photographs(tmp_path / "p")
    for name, (data, _) in _BAD.items():
        (root / "dog" / name).write_bytes(data)
    (root / "cat" / "gone.jpg").symlink_to("nowhere")
    report = built(root, tmp_path / "s.lmdb", skip_bad=True)
    assert {bad["name"] for bad in report["skipped"]} == {f"dog/{name}" for name in _BAD} | {"cat/gone.jpg"}
    assert {bad["name"]: bad["reason"] for bad in report["skipped"]}["cat/gone.jpg"].startswith(
        "cannot be read: No such"
    )
    store = ImageStore(tmp_path / "s.lmdb")
    assert list(store.names) == [f"{kind}/{i}.jpg" for kind in ("cat", "dog") for i in range(10)]
    assert report["images"] == 20 and report["classes"] == 2 and report["stores"] == [str(tmp_path / "s.lmdb")]
    assert report["bytes"] == (tmp_path / "s.lmdb").stat().st_size and report["images_per_second"] > 0


def test_when_all_are_bad_nothing_is_published(tmp_path: Path) -> None:
    """Skipping everything is an error that gives the first reason."""
    (tmp_path / "p" / "cat").mkdir(parents=True)
    (tmp_path / "p" / "cat" / "1.jpg").write_bytes(b"text")
    with pytest.raises(InputError, match=r"no sample is left for .*: 1 are bad, .*cat/1.jpg is not an image"):
        built(tmp_path / "p", tmp_path / "s.lmdb", skip_bad=True)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


def test_good_files_are_kept_to_the_byte(tmp_path: Path) -> None:
    """Grey, CMYK, 16-bit, 1 x 4000 px and oriented files go in as they came, with oriented sizes and Chinese names."""
    root = tmp_path / "p" / "类"
    root.mkdir(parents=True)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(picture(40, 60)).save(root / "竖.jpg", exif=exif)
    Image.fromarray(picture()).convert("CMYK").save(root / "cmyk.jpg")
    Image.fromarray(picture()).convert("L").save(root / "grey.jpg")
    cv2.imwrite(str(root / "16.png"), picture().astype(np.uint16) * 257)
    (root / "wide.jpg").write_bytes(encoded(picture(1, 4000)))
    built(tmp_path / "p", tmp_path / "s.lmdb", verify=True)
    store = ImageStore(tmp_path / "s.lmdb")
    sizes = dict(zip(store.names, store.sizes.tolist(), strict=True))
    assert store.classes == ("类",) and sizes["类/竖.jpg"] == [60, 40] and sizes["类/wide.jpg"] == [1, 4000]
    for index, name in enumerate(store.names):
        assert bytes(store.read([index])[0]) == (tmp_path / "p" / name).read_bytes()


def test_workers_change_no_byte(tmp_path: Path) -> None:
    """The file is the same with one thread and with four, shrunk or not."""
    root = _photographs(tmp_path / "p")
    for name, options in {"plain": {}, "small": {"shorter_side": 20}}.items():
        for workers in (1, 4):
            built(root, tmp_path / f"{name}{workers}", workers=workers, **options)
        assert (tmp_path / f"{name}1").read_bytes() == (tmp_path / f"{name}4").read_bytes()


def test_a_split_divides_every_class(tmp_path: Path) -> None:
    """Two stores beside each other hold each image once, with the same classes, the same way each time."""
    root = _photographs(tmp_path / "p")
    report = built(root, tmp_path / "s.lmdb", split=0.8)
    train, val = (ImageStore(tmp_path / name) for name in ("s.train.lmdb", "s.val.lmdb"))
    assert report["stores"] == [str(train.path), str(val.path)] and report["images"] == 20
    assert np.bincount(train.labels).tolist() == [8, 8] and np.bincount(val.labels).tolist() == [2, 2]
    assert sorted([*train.names, *val.names]) == sorted(f"{kind}/{i}.jpg" for kind in ("cat", "dog") for i in range(10))
    assert train.classes == val.classes == ("cat", "dog")
    built(root, tmp_path / "again.lmdb", split=0.8)
    assert ImageStore(tmp_path / "again.val.lmdb").digest == val.digest
    built(root, tmp_path / "other.lmdb", split=0.8, seed=1)
    assert ImageStore(tmp_path / "other.val.lmdb").digest != val.digest


def test_neither_part_is_published_alone(tmp_path: Path) -> None:
    """Where one of the two targets cannot be built, the other is not published either."""
    root = _photographs(tmp_path / "p")
    (tmp_path / "s.val.lmdb").write_bytes(b"precious")
    with pytest.raises(InputError, match=r"s\.val\.lmdb exists already"):
        built(root, tmp_path / "s.lmdb", split=0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "s.val.lmdb"]


def _items(counts: list[int]) -> list[SourceItem]:
    return [SourceItem(f"{c}/{i}", c, lambda: Loaded(b"")) for c, count in enumerate(counts) for i in range(count)]


def test_splits_keep_their_laws() -> None:
    """Every class of two or more is on both sides, shares are rounded, and a growing set moves few images."""
    items = _items([1, 2, 3, 100, 1000])
    chosen = np.array(split_parts(items, 0.9, seed=3))
    labels = np.array([item.label for item in items])
    assert [int(chosen[labels == c].sum()) for c in range(5)] == [0, 1, 1, 10, 100]
    larger = _items([1, 2, 3, 100, 1100])
    moved = dict(zip((item.name for item in items), chosen, strict=True))
    after = dict(zip((item.name for item in larger), split_parts(larger, 0.9, seed=3), strict=True))
    assert sum(moved[name] != after[name] for name in moved) <= 20
    for share in (0.0, 1.0, 1.5):
        with pytest.raises(InputError, match="split must lie between 0 and 1"):
            split_parts(items, share, seed=0)
    with pytest.raises(InputError, match="two images or more"):
        split_parts(_items([1, 1]), 0.5, seed=0)


def test_a_mask_of_another_size_names_both_files(tmp_path: Path) -> None:
    """Image and mask are both in the sentence, with both sizes."""
    (tmp_path / "p").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "p" / "1.jpg").write_bytes(encoded(picture(40, 60)))
    cv2.imwrite(str(tmp_path / "m" / "1.png"), np.zeros((60, 40), np.uint8))
    with pytest.raises(InputError, match=r"1\.jpg has the mask .*m/1\.png of 60 x 40 px, but is itself 40 x 60 px"):
        built(folder(tmp_path / "p", masks=tmp_path / "m"), tmp_path / "s.lmdb")


def test_verifying_finds_what_headers_hide(tmp_path: Path) -> None:
    """A PNG whose chunks are whole but whose pixels are not passes the header check and fails the full decode."""
    root = _photographs(tmp_path / "p", ("cat",))
    png = cv2.imencode(".png", picture())[1].tobytes()
    header, rest = png[:33], png[33:]
    content = zlib.compress(bytes(100))  # far too few pixels
    chunk = struct.pack(">I", len(content)) + b"IDAT" + content + struct.pack(">I", zlib.crc32(b"IDAT" + content))
    (root / "cat" / "hollow.png").write_bytes(header + chunk + rest[-12:])
    assert built(root, tmp_path / "s.lmdb")["images"] == 11
    with pytest.raises(InputError, match=r"cat/hollow\.png does not decode in full"):
        built(root, tmp_path / "t.lmdb", verify=True)
    report = built(root, tmp_path / "u.lmdb", verify=True, skip_bad=True)
    assert [bad["name"] for bad in report["skipped"]] == ["cat/hollow.png"] and report["images"] == 10
    assert not (tmp_path / "t.lmdb").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"shorter_side": 0}, "shorter_side"), ({"max_pixels": 0}, "max_pixels"), ({"workers": 0}, "workers")],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, int], reason: str) -> None:
    """Each is refused by its name, and nothing is left over."""
    root = _photographs(tmp_path / "p", ("cat",), 1)
    with pytest.raises(InputError, match=f"{reason} must be at least 1"):
        built(root, tmp_path / "s.lmdb", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["p"]


@pytest.mark.slow
def test_a_killed_build_publishes_nothing(tmp_path: Path) -> None:
    """SIGKILL in mid-build: no store; the next build of the same target works."""
    root = _photographs(tmp_path / "p")
    script = """
import os, signal, sys
from sdali.pipelines.store import lmdb_write
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.build.build import build
from sdali.pipelines.sources.folder import folder
lmdb_write._WAITING_BYTES = 1
def kill_after_ten(items, total, what):
    for count, item in enumerate(items):
        if count == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
build(folder(sys.argv[1]), sys.argv[2], progress=kill_after_ten)
"""
    result = subprocess.run([sys.executable, "-c", script, str(root), str(tmp_path / "s.lmdb")], timeout=60)
    assert result.returncode == -9 and not (tmp_path / "s.lmdb").exists()
    assert built(root, tmp_path / "s.lmdb")["images"] == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p", "s.lmdb"]


def test_real_photographs(real_data: Path, tmp_path: Path) -> None:
    """The pets build with their trimaps, one GIF among them transcoded, verified in full, and split by breed."""
    source = folder(real_data / "pets" / "images", masks=real_data / "pets" / "trimaps")
    with pytest.raises(InputError, match=r"Abyssinian_34\.jpg .*GIF"):
        built(source, tmp_path / "pets.lmdb")
    report = built(source, tmp_path / "pets.lmdb", transcode=True, verify=True, split=0.9)
    assert report["images"] == 480 and not report["skipped"] and report["classes"] == 3
    store = ImageStore(tmp_path / "pets.val.lmdb")
    for index in range(0, len(store), 7):
        assert decoded(store, index).shape[:2] == tuple(store.sizes[index]) == store.mask(index).shape
        assert set(np.unique(store.mask(index))) <= {1, 2, 3}

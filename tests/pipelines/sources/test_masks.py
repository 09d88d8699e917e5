"""Stores for scene parsing: masks kept without loss, presets, and every kind of bad mask as one sentence."""

from __future__ import annotations

import codecs
import io
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo
from PIL import Image

from sdali.pipelines import ImageStore, InputError
from sdali.pipelines.sources.masks import images_and_masks

COMMAND = ("--format", "masks")


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def png(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


def values(seed: int, low: int, high: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (40, 60), np.uint8)


def test_a_folder_of_images_and_masks_becomes_a_store(tmp_path: Path, capsys) -> None:
    """Bytes of the masks as they came, a palette resolved; names from a file; the ignore index in the header."""
    write(tmp_path / "i/x/a.jpg", jpeg(photo(0, 40, 60)))
    write(tmp_path / "i/b.jpg", jpeg(photo(1, 40, 60)))
    mask, indexed = values(0, 0, 3), values(1, 0, 2)
    write(tmp_path / "m/a.png", png(mask))
    palette = Image.fromarray(indexed)
    palette.putpalette([9, 9, 9, 200, 0, 0])
    palette.save(tmp_path / "m/b.png")
    (tmp_path / "names.txt").write_text("ground\nhouse\n", "utf-8")
    options = ("--masks", tmp_path / "m", "--class-names", tmp_path / "names.txt", "--ignore-index", 2)
    report_of(capsys, "build", tmp_path / "i", tmp_path / "s.lmdb", *COMMAND, *options)
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.classes == ("ground", "house") and store.ignore_index == 2 and store.labels.tolist() == [-1, -1]
    by_name = {name: index for index, name in enumerate(store.names)}
    assert bytes(store.encoded_mask(by_name["x/a.jpg"])) == png(mask)
    np.testing.assert_array_equal(store.mask(by_name["b.jpg"]), indexed)
    info = report_of(capsys, "info", tmp_path / "s.lmdb", "--verify")
    assert info["ignore_index"] == 2 and info["classes"] == ["ground", "house"] and info["verified"]
    (tmp_path / "names.txt").write_text("ground\nhouse\nsky\n", "utf-8")
    report_of(capsys, "build", tmp_path / "i", tmp_path / "t.lmdb", *COMMAND, *options[:4])
    assert ImageStore(tmp_path / "t.lmdb").ignore_index == 255


def test_one_mask_is_never_of_two_images(tmp_path: Path, capsys) -> None:
    """1.jpg and 1.png beside one 1.png of masks: a refusal that names both; masks of no image are counted."""
    for name in ("i/1.jpg", "i/1.png", "i/2.jpg"):
        write(tmp_path / name, jpeg(photo(0, 40, 60)))
    for name in ("m/1.png", "m/2.png", "m/3.png", "m/.hidden/4.png"):
        write(tmp_path / name, png(values(0, 0, 2)))
    (tmp_path / "names.txt").write_text("a\nb\n", "utf-8")
    words = ("build", tmp_path / "i", tmp_path / "s.lmdb", *COMMAND, "--masks", tmp_path / "m")
    words += ("--class-names", tmp_path / "names.txt")
    assert re.search(r"1\.jpg shares the mask .*m/1\.png with 1\.png: rename", refusal_of(capsys, *words))
    report = report_of(capsys, *words, "--skip-bad")
    assert report["images"] == 1 and len(report["skipped"]) == 2
    assert report["left_out"] == {"masks of no image": {"count": 1, "examples": [str(tmp_path / "m/3.png")]}}


def test_a_comment_among_class_names_is_no_class(tmp_path: Path) -> None:
    """Where it might be either, the line is refused: a class more would shift all that follow."""
    write(tmp_path / "i/1.jpg", b"?")
    write(tmp_path / "m/1.png", b"?")
    names = tmp_path / "names.txt"

    def classes() -> tuple[str, ...]:
        return images_and_masks(tmp_path / "i", masks=tmp_path / "m", class_names=names).classes

    names.write_bytes(codecs.BOM_UTF8 + b"# classes\r\nroad\r\n\r\ncar\r\n")
    assert classes() == ("road", "car")
    names.write_text("road\n#car\n")
    with pytest.raises(InputError, match="has the line '#car', a comment or a name"):
        classes()


def test_the_presets_know_the_habits_of_their_sets(tmp_path: Path, capsys) -> None:
    """CamVid as it is; of ADE20K 1 to 150 become 0 to 149 and 0 becomes 255; names from the release's table."""
    for image, mask, low, high in [
        ("cam/val/1.jpg", "cam/valannot/1.png", 0, 12),
        ("ade/images/validation/1.jpg", "ade/annotations/validation/1.png", 0, 151),
    ]:
        write(tmp_path / image, jpeg(photo(0, 40, 60)))
        write(tmp_path / mask, png(values(0, low, high)))
    stores = {}
    for name, folder in {"camvid": "cam", "ade20k": "ade"}.items():
        options = ("--preset", name, "--subset", "val")
        report_of(capsys, "build", tmp_path / folder, tmp_path / f"{name}.lmdb", *COMMAND, *options)
        stores[name] = ImageStore(tmp_path / f"{name}.lmdb")
    (tmp_path / "cam/val").rename(tmp_path / "cam/test")
    (tmp_path / "cam/valannot").rename(tmp_path / "cam/testannot")
    assert len(images_and_masks(tmp_path / "cam", preset="camvid", subset="test").items) == 1
    with pytest.raises(InputError, match="the subsets of ade20k are train, val, got test"):
        images_and_masks(tmp_path / "ade", preset="ade20k", subset="test")
    assert stores["camvid"].classes[3] == "road" and stores["camvid"].ignore_index == 11
    np.testing.assert_array_equal(stores["camvid"].mask(0), values(0, 0, 12))
    assert len(stores["ade20k"].classes) == 150 and stores["ade20k"].ignore_index == 255
    np.testing.assert_array_equal(stores["ade20k"].mask(0), values(0, 0, 151) - np.uint8(1))  # 0 - 1 is 255
    assert stores["ade20k"].classes[:2] == ("1", "2")
    table = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{k}\t0.1\t9\t9\t1\tthing {k}, it" for k in range(1, 151))]
    (tmp_path / "ade/objectInfo150.txt").write_text("\n".join(table), "utf-8")
    assert images_and_masks(tmp_path / "ade", preset="ade20k", subset="val").classes[149] == "thing 150, it"
    (tmp_path / "ade/objectInfo150.txt").write_text("\n".join(table[:-1]), "utf-8")
    with pytest.raises(InputError, match=r"objectInfo150\.txt has 149 classes, not 150"):
        images_and_masks(tmp_path / "ade", preset="ade20k", subset="val")


def turned(mask: np.ndarray) -> bytes:
    """A PNG that says it is upside down, which some readers heed and others do not."""
    exif, data = Image.Exif(), io.BytesIO()
    exif[0x112] = 3
    Image.fromarray(mask).save(data, "PNG", exif=exif)
    return data.getvalue()


BAD = {
    "another size": (png(values(0, 0, 3)[1:]), r"a.jpg has the mask .*a.png of 39 x 60 px, but is itself 40 x 60 px"),
    "a class beyond": (
        png(values(0, 0, 4)),
        r"a.jpg has the mask .*a.png, which has the value 3, none of the 3 classes",
    ),
    "colours": (
        png(np.zeros((40, 60, 3), np.uint8)),
        r"a.jpg has the mask .*a.png, which has colours, not class indices",
    ),
    "turned by EXIF": (turned(values(0, 0, 3)), r"a.png, which has an EXIF orientation"),
    "missing": (None, r"a.jpg has no mask .*a\.png"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_mask_stops_the_build_with_its_name(tmp_path: Path, capsys, kind: str) -> None:
    """Status 2, one sentence that names image and mask, and no store; --skip-bad builds without it and lists it."""
    data, reason = BAD[kind]
    for name in ("a", "b"):
        write(tmp_path / f"i/{name}.jpg", jpeg(photo(0, 40, 60)))
        write(tmp_path / f"m/{name}.png", png(values(0, 0, 3)))
    if data is None:
        (tmp_path / "m/a.png").unlink()
    else:
        write(tmp_path / "m/a.png", data)
    (tmp_path / "names.txt").write_text("0: a\n1: b\n2: c\n", "utf-8")
    words = ("build", tmp_path / "i", tmp_path / "s.lmdb", *COMMAND, "--masks", tmp_path / "m")
    words += ("--class-names", tmp_path / "names.txt")
    sentence = refusal_of(capsys, *words)
    assert re.search(reason, sentence) and "--skip-bad" in sentence
    assert [path.name for path in tmp_path.glob("s.lmdb*")] == []
    skipped = report_of(capsys, *words, "--skip-bad")["skipped"]
    assert [entry["name"] for entry in skipped] == ["a.jpg"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (COMMAND, r"masks must be given"),
        ((*COMMAND, "--preset", "camvid"), "has no folder train, as camvid has"),
        ((*COMMAND, "--preset", "camvid", "--masks", "m"), "leave out masks or preset"),
        (("--preset", "camvid"), "goes with --format masks"),
        (("--ignore-index", "3"), "goes with --format masks"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path: Path, capsys, words: tuple[str, ...], reason: str) -> None:
    write(tmp_path / "i/a.jpg", jpeg(photo(0, 40, 60)))
    assert reason in refusal_of(capsys, "build", tmp_path / "i", tmp_path / "s.lmdb", *words)


def test_a_mask_that_is_no_file_is_named(tmp_path: Path, capsys) -> None:
    """A pipe is not waited for, a folder not read."""
    write(tmp_path / "i/a.jpg", jpeg(photo(0, 40, 60)))
    (tmp_path / "m").mkdir()
    (tmp_path / "names.txt").write_text("a\n", "utf-8")
    words = ("build", tmp_path / "i", tmp_path / "s.lmdb", *COMMAND, "--masks", tmp_path / "m")
    for make in (os.mkfifo, os.mkdir):
        make(tmp_path / "m/a.png")
        sentence = refusal_of(capsys, *words, "--class-names", tmp_path / "names.txt")
        reason = r"a\.jpg has the mask .*a\.png, which cannot be read: it is (not a regular file|a directory)"
        assert re.search(reason, sentence)
        (tmp_path / "m/a.png").rename(tmp_path / make.__name__)

"""VOC folders become stores: boxes as continuous edges, flags kept, and every kind of bad annotation one sentence."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo
from voc_xml import Object, xml

from sdali.pipelines import ImageStore
from sdali.pipelines.build.build import build
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.voc import voc

COMMAND = ("--format", "voc")


def voc_folder(root: Path, annotations: dict[str, str], listed: str | None = None, orientation: int = 1) -> Path:
    """Images of 40 x 60 px as they are stored, with the annotations of these names."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for seed, (name, text) in enumerate(annotations.items()):
        data = jpeg(photo(seed, 40, 60))
        if orientation > 1:
            tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
            data = data[:2] + b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff + data[2:]
        (root / f"JPEGImages/{name}.jpg").write_bytes(data)
        (root / f"Annotations/{name}.xml").write_text(text, "utf-8")
    (root / "ImageSets/Main/train.txt").write_text("\n".join(annotations) if listed is None else listed, "utf-8")
    return root


def test_a_voc_folder_becomes_a_store(tmp_path: Path, capsys) -> None:
    """Edges are x_min - 1, y_min - 1, x_max, y_max; flags and order are kept; negatives stay; names are those of all
    subsets; the report and info count.
    """
    objects: list[Object] = [("dog", (1, 1, 60, 40), 0), ("cat", (11, 6, 20, 25), 1), ("dog", (3.5, 4, 9, 8.25), None)]
    annotations = {"a": xml(objects), "b": xml([]), "c": xml([("emu", (2, 2, 9, 9), 0)])}
    root = voc_folder(tmp_path / "v", annotations, "b  -1\na 1\n\n")
    report = report_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "train")
    store = ImageStore(tmp_path / "s.lmdb")
    assert list(store.names) == ["b.jpg", "a.jpg"] and store.classes == ("cat", "dog", "emu")
    assert store.labels.tolist() == [-1, -1] and len(store.boxes(0).labels) == 0
    boxes = store.boxes(1)
    assert boxes.xyxy.tolist() == [[0, 0, 60, 40], [10, 5, 20, 25], [2.5, 3, 9, 8.25]]
    assert boxes.labels.tolist() == [1, 0, 1] and boxes.difficult.tolist() == [False, True, False]
    assert boxes.xyxy.dtype == np.float32 and boxes.labels.dtype == np.int64 and boxes.difficult.dtype == bool
    expected = {"objects": {"cat": 1, "dog": 2, "emu": 0}, "difficult": 1, "images_without_objects": 1}
    assert {key: report[key] for key in expected} == expected
    assert (report["boxes"], report["boxes_clipped"], report["boxes_dropped"]) == (3, 0, 0)
    info = report_of(capsys, "info", tmp_path / "s.lmdb", "--verify")
    assert {key: info[key] for key in expected} == expected and info["verified"]
    assert info["classes"] == {"cat": 1, "dog": 1, "emu": 0} and "unlabelled" not in info  # images with such an object
    found = store.objects()
    assert found.images.tolist() == [1, 1, 1] and found.labels.tolist() == [1, 0, 1]
    assert found.difficult.tolist() == [False, True, False]


def test_boxes_are_clipped_or_dropped_and_counted(tmp_path: Path, capsys) -> None:
    """Beyond the image: clipped. Inverted, a pixel wide or less, outside: dropped. The others keep their places."""
    boxes = [(-5, 3, 9, 9), (9, 9, 5, 12), (9, 9, 9, 20), (70, 2, 80, 9), (5, 5, 10, 10), (50, 30, 99, 1e300)]
    root = voc_folder(tmp_path / "v", {"a": xml([("cat", box, 0) for box in boxes])})
    report = report_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND)
    assert (report["boxes"], report["boxes_clipped"], report["boxes_dropped"]) == (3, 2, 3)
    kept = ImageStore(tmp_path / "s.lmdb").boxes(0).xyxy.tolist()
    assert kept == [[0, 2, 9, 9], [4, 4, 10, 10], [49, 29, 60, 40]]


def test_names_come_from_a_file_where_one_is_given(tmp_path: Path, capsys) -> None:
    """In its order; an object of another class is refused by name."""
    root = voc_folder(tmp_path / "v", {"a": xml([("cat", (1, 1, 9, 9), 0)]), "b": xml([("emu", (1, 1, 9, 9), 0)])})
    names = tmp_path / "names.txt"
    names.write_text("emu\ncat\n", "utf-8")
    report_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND, "--class-names", names)
    assert ImageStore(tmp_path / "s.lmdb").boxes(0).labels.tolist() == [1]
    names.write_text("cat\n", "utf-8")
    words = ("build", root, tmp_path / "t.lmdb", *COMMAND, "--class-names", names)
    assert re.search("b.jpg has the annotation .*b.xml, which has an object of class 'emu'", refusal_of(capsys, *words))
    names.write_text("cat\ncat\n", "utf-8")
    assert "has the class 'cat' twice" in refusal_of(capsys, *words)


def test_class_folders_take_boxes_from_annotations(tmp_path: Path, capsys) -> None:
    """One class and one or more boxes an image: each box has its image's class, whatever it is called in the XML."""
    for kind in ("birman", "boxer"):
        voc_folder(tmp_path / kind, {f"{kind}_1": xml([("pet", (1, 1, 9, 9), 0), ("pet", (9, 9, 30, 30), 0)])})
        (tmp_path / "i" / kind).mkdir(parents=True)
        (tmp_path / kind / f"JPEGImages/{kind}_1.jpg").rename(tmp_path / f"i/{kind}/{kind}_1.jpg")
        (tmp_path / "x").mkdir(exist_ok=True)
        (tmp_path / kind / f"Annotations/{kind}_1.xml").rename(tmp_path / f"x/{kind}_1.xml")
    report_of(capsys, "build", tmp_path / "i", tmp_path / "s.lmdb", "--annotations", tmp_path / "x")
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.labels.tolist() == [0, 1] and [store.boxes(i).labels.tolist() for i in (0, 1)] == [[0, 0], [1, 1]]
    (tmp_path / "x/boxer_1.xml").unlink()
    words = ("build", tmp_path / "i", tmp_path / "t.lmdb", "--annotations", tmp_path / "x")
    assert "boxer/boxer_1.jpg has no annotation" in refusal_of(capsys, *words)
    assert report_of(capsys, *words, "--skip-bad")["images"] == 1
    words = ("build", tmp_path / "i/boxer", tmp_path / "t.lmdb", "--annotations", tmp_path / "x")
    assert "has no class folders" in refusal_of(capsys, *words)


def test_boxes_are_of_the_image_as_it_is_seen(tmp_path: Path, capsys) -> None:
    """With an EXIF orientation that turns it, a size as it is seen is taken, one as it is stored refused."""
    objects: list[Object] = [("cat", (1, 1, 40, 60), 0)]
    root = voc_folder(tmp_path / "v", {"a": xml(objects, (60, 40))}, orientation=6)
    report_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND)
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.sizes.tolist() == [[60, 40]] and store.boxes(0).xyxy.tolist() == [[0, 0, 40, 60]]
    voc_folder(root, {"a": xml(objects, (40, 60))}, orientation=6)
    sentence = refusal_of(capsys, "build", root, tmp_path / "t.lmdb", *COMMAND)
    assert "is annotated as 40 x 60 px (height x width), but has 60 x 40 px with its orientation applied" in sentence


def no_tag(tag: str) -> str:
    return re.sub(f"<{tag}>.*?</{tag}>", "", xml([("cat", (1, 1, 9, 9), 0)]), count=1)


ENTITIES = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]>' + xml([("&z;", (1, 1, 9, 9), 0)])
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + xml([("&x;", (1, 1, 9, 9), 0)])
BAD = {
    "entities": (ENTITIES, "declares entities"),
    "external entities": (EXTERNAL, "declares entities"),
    "text": ("no xml at all", "is no XML"),
    "empty": ("", "is no XML"),
    "cut": (xml([("cat", (1, 1, 9, 9), 0)])[:-40], "is no XML"),
    "unknown encoding": ('<?xml version="1.0" encoding="rot13"?><annotation/>', "is no XML"),
    "another root": (xml([], root="html"), "is no VOC annotation: its root is <html>"),
    "no name": (no_tag("name"), "has no text in <object><name>"),
    "no box": (no_tag("bndbox"), "has no text in <object><bndbox><xmin>"),
    "no edge": (no_tag("ymax"), "has no text in <object><bndbox><ymax>"),
    "no width": (no_tag("width"), "has no text in <annotation><size><width>"),
    "no number": (xml([("cat", (1, "two", 9, 9), 0)]), "has 'two' for a number in <bndbox><ymin>"),
    "nan": (xml([("cat", (1, "nan", 9, 9), 0)]), "has the box [0.0, nan, 9.0, 9.0], whose edges are not all numbers"),
    "infinite": (xml([("cat", (1, 1, "inf", 9), 0)]), "has the box [0.0, 0.0, inf, 9.0]"),
    "no flag": (xml([("cat", (1, 1, 9, 9), "yes")]), "has 'yes' in <difficult>"),
    "another size": (xml([], (41, 60)), "is annotated as 41 x 60 px (height x width), but has 40 x 60"),
    "half a pixel": (xml([]).replace("40<", "40.5<"), "states the size 40.5 x 60.0 px"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_annotation_stops_the_build_with_its_name(tmp_path: Path, capsys, kind: str) -> None:
    """Status 2, one sentence that names image and cause, and no store; --skip-bad builds without it."""
    text, reason = BAD[kind]
    root = voc_folder(tmp_path / "v", {"a": text, "b": xml([("cat", (1, 1, 9, 9), 0)])})
    words = ("build", root, tmp_path / "s.lmdb", *COMMAND)
    sentence = refusal_of(capsys, *words)
    assert sentence.startswith("sdali: a.jpg ") and reason in sentence and "--skip-bad" in sentence
    assert list(tmp_path.glob("s.lmdb*")) == []
    report = report_of(capsys, *words, "--skip-bad")
    assert [entry["name"] for entry in report["skipped"]] == ["a.jpg"] and report["boxes"] == 1


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        ("b\nmissing\n", "missing is listed, but .*JPEGImages has no such image"),
        ("b\n../JPEGImages/b\n", "../JPEGImages/b points outside .*JPEGImages"),
        ("b\n/etc/hostname\n", "/etc/hostname points outside"),
        ("b\n\0\n", "train.txt is not UTF-8 text"),
        ("b\nlink\n", "link.jpg points outside"),
        ("\n", "train.txt has no names of images"),
        ("b\nb\n", "train.txt lists b.jpg 2 times"),
        ("b\nb.jpg\n", "train.txt lists b.jpg 2 times"),
    ],
)
def test_a_list_leads_to_images_of_the_folder_alone(tmp_path: Path, capsys, listed: str, reason: str) -> None:
    root = voc_folder(tmp_path / "v", {"b": xml([("cat", (1, 1, 9, 9), 0)])}, listed)
    (tmp_path / "secret.jpg").write_bytes(jpeg(photo(0, 40, 60)))
    (root / "JPEGImages/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "Annotations/link.xml").write_text(xml([]), "utf-8")
    words = ("build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "train")
    assert re.search(reason, refusal_of(capsys, *words)) and list(tmp_path.glob("s.lmdb*")) == []


def test_two_files_of_one_name_are_never_chosen_between(tmp_path: Path, capsys) -> None:
    """Two annotations of one image, or two images that one line of a list could mean, are refused with both names."""
    root = voc_folder(tmp_path / "v", {"a": xml([("cat", (1, 1, 9, 9), 0)])})
    (root / "Annotations/a.XML").write_text(xml([("emu", (2, 2, 9, 9), 0)]), "utf-8")
    words = ("build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "train")
    assert re.search("either of the annotations .*a.XML and .*a.xml: keep one", refusal_of(capsys, *words))
    (root / "Annotations/a.XML").unlink()
    (root / "JPEGImages/a.jpeg").write_bytes(jpeg(photo(1, 40, 60)))
    assert "train.txt lists 'a', which is a.jpeg or a.jpg; rename one" in refusal_of(capsys, *words)


def test_a_list_names_images_by_its_whole_lines(tmp_path: Path) -> None:
    """Spaces belong to the name, and so does a trailing number unless it tells whether a class is there."""
    names = ["photo", "photo (1)", "my photo 1", "two  spaces", "#1"]
    root = voc_folder(tmp_path / "v", {name: xml([("cat", (1, 1, 9, 9), 0)]) for name in names})
    for listed, expected in (
        ("photo (1)\nphoto\n", ["photo (1)", "photo"]),
        ("my photo 1\r\n\r\n# the rest\r\ntwo  spaces\r\n#1\r\n", ["my photo 1", "two  spaces", "#1"]),
        ("photo (1)  1\nmy photo 1 -1\nphoto 0\n#1 1\n", ["photo (1)", "my photo 1", "photo", "#1"]),
        ("\ufeffphoto\n", ["photo"]),
    ):
        (root / "ImageSets/Main/train.txt").write_text(listed, "utf-8", newline="")
        assert [item.name for item in voc(root, subset="train").items] == [f"{name}.jpg" for name in expected]
    (root / "ImageSets/Main/train.txt").write_text("photo 2\n", "utf-8")
    assert [item.name for item in voc(root, subset="train").items] == ["photo 2"]  # refused at its turn, as absent
    voc_folder(root, {"photo 1": xml([])}, "photo 1\n")
    with pytest.raises(InputError, match=r"lists 'photo 1', which is photo 1\.jpg or photo\.jpg; rename"):
        voc(root, subset="train")


def test_one_annotation_is_never_of_two_images(tmp_path: Path, capsys) -> None:
    """a.jpg and a.png beside one a.xml: refused with both names, also without a list, and left out where allowed."""
    root = voc_folder(tmp_path / "v", {"a": xml([("cat", (1, 1, 9, 9), 0)]), "b": xml([])})
    (root / "JPEGImages/a.png").write_bytes(jpeg(photo(1, 40, 60)))
    words = ("build", root, tmp_path / "s.lmdb", *COMMAND)
    assert re.search(r"a\.jpg shares the annotation .*a\.xml with a\.png: rename", refusal_of(capsys, *words))
    assert report_of(capsys, *words, "--skip-bad")["images"] == 1


def test_annotations_as_other_tools_write_them(tmp_path: Path) -> None:
    """With a byte-order mark, in UTF-16, after blank lines; and a size of 0 x 0, which is none."""
    text = xml([("犬", (1, 1, 60, 40), 0)], (0, 0))
    root = voc_folder(tmp_path / "v", dict.fromkeys("abcd", text))
    declared = '<?xml version="1.0" encoding="{}"?>\r\n' + text
    (root / "Annotations/b.xml").write_text("\ufeff" + declared.format("utf-8"), "utf-8")
    (root / "Annotations/c.xml").write_text(declared.format("utf-16"), "utf-16")
    (root / "Annotations/d.xml").write_text("\n \r\n" + declared.format("utf-8"), "utf-8")
    report = build(voc(root), tmp_path / "s.lmdb", progress=silent)
    assert report["objects"] == {"犬": 4} and report["images"] == 4
    store = ImageStore(tmp_path / "s.lmdb")
    assert all(store.boxes(index).xyxy.tolist() == [[0, 0, 60, 40]] for index in range(4))


def test_what_is_no_voc_folder_is_named(tmp_path: Path, capsys) -> None:
    root = voc_folder(tmp_path / "v", {"b": xml([])})
    words = ("build", root, tmp_path / "s.lmdb", *COMMAND)
    assert "Annotations has no annotation with an object" in refusal_of(capsys, *words)
    (tmp_path / "names.txt").write_text("cat\n", "utf-8")
    words = (*words, "--class-names", tmp_path / "names.txt")
    assert "cannot read the names of images" in refusal_of(capsys, *words, "--subset", "val")
    (root / "Annotations/b.xml").unlink()
    (root / "Annotations").rmdir()
    assert "has no folder Annotations, as VOC has" in refusal_of(capsys, *words)
    assert "--annotations goes with --format coco or folder" in refusal_of(capsys, *words, "--annotations", root)


def test_a_real_set(real_data: Path, tmp_path: Path, capsys) -> None:
    """BCCD: all its objects but the two that are a click without a drag."""
    report = report_of(capsys, "build", real_data / "bccd", tmp_path / "s.lmdb", *COMMAND)
    counts = {"Platelets": 0, "RBC": 0, "WBC": 0}
    for path in (real_data / "bccd/Annotations").iterdir():
        for name in re.findall("<name>(.*?)</name>", path.read_text()):
            counts[name] += 1
    assert report["boxes"] == sum(counts.values()) - 2 == 3941 and report["boxes_dropped"] == 2
    assert report["boxes_clipped"] == 0 and report["images"] == 292
    assert all(0 <= counts[name] - count <= 2 for name, count in report["objects"].items())

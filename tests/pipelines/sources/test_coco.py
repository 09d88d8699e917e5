"""COCO files become stores, and every way in which they can be wrong is one sentence."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo

from sdali.pipelines import ImageStore

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "x/b.jpg", "height": 40, "width": 60},
        {"id": 3, "file_name": "a.jpg"},
        {"id": 9, "file_name": "c.jpg", "height": 40, "width": 60},
    ],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 90, "bbox": [1.5, 2, 10, 20.25], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 2, "bbox": [50, 30, 100, 100], "iscrowd": 1},
        {"id": 3, "image_id": 3, "category_id": 2, "bbox": [5, 5, 0, 9], "iscrowd": 0},
        {"id": 4, "image_id": 3, "category_id": 2, "bbox": [5, 5, 9, 9]},
    ],
    "categories": [{"id": 90, "name": "kite"}, {"id": 2, "name": "bicycle"}],
}


def words_for(tmp_path: Path, document: Any) -> tuple[object, ...]:
    """The command for a folder of the three images and a file of this content."""
    (tmp_path / "i/x").mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("x/b", "a", "c")):
        (tmp_path / f"i/{name}.jpg").write_bytes(jpeg(photo(seed, 40, 60)))
    text = document if isinstance(document, str) else json.dumps(document)
    (tmp_path / "coco.json").write_text(text, "utf-8")
    return "build", tmp_path / "i", tmp_path / "s.lmdb", "--format", "coco", "--annotations", tmp_path / "coco.json"


def test_a_coco_file_becomes_a_store(tmp_path: Path, capsys) -> None:
    """Images in the file's order, classes in that of the ids, crowds difficult, boxes clipped or dropped."""
    report = report_of(capsys, *words_for(tmp_path, DOCUMENT))
    store = ImageStore(tmp_path / "s.lmdb")
    assert list(store.names) == ["x/b.jpg", "a.jpg", "c.jpg"] and store.classes == ("bicycle", "kite")
    boxes = [store.boxes(index) for index in range(3)]
    assert [one.xyxy.tolist() for one in boxes] == [[[50, 30, 60, 40]], [[1.5, 2, 11.5, 22.25], [5, 5, 14, 14]], []]
    assert [one.labels.tolist() for one in boxes] == [[0], [1, 0], []]
    assert [one.difficult.tolist() for one in boxes] == [[True], [False, False], []]
    assert (report["boxes"], report["boxes_clipped"], report["boxes_dropped"]) == (3, 1, 1)
    assert report["images_without_objects"] == 1 and report["objects"] == {"bicycle": 2, "kite": 1}


def test_a_store_keeps_ids_and_areas(tmp_path: Path, capsys) -> None:
    """Of images and classes; an area is the source's, also of a box that was clipped, else that of the source's box."""
    document = changed("annotations", 0, "area", to=33.5)
    report_of(capsys, *words_for(tmp_path, document))
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.image_ids is not None and store.image_ids.tolist() == [7, 3, 9] and store.category_ids == (2, 90)
    assert store.source_sizes is not None and store.source_sizes.tolist() == [[40, 60]] * 3
    areas = [store.boxes(index).areas for index in range(3)]
    assert [None if one is None else one.tolist() for one in areas] == [[10_000], [33.5, 81], []]
    report_of(capsys, *words_for(tmp_path, document), "--overwrite", "--shorter-side", "20")
    shrunk = ImageStore(tmp_path / "s.lmdb")
    assert shrunk.source_sizes is not None and shrunk.source_sizes.tolist() == [[40, 60]] * 3
    areas = shrunk.boxes(1).areas
    assert areas is not None and areas.tolist() == [33.5 / 4, 81 / 4]


def changed(*path: Any, to: Any) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return document


BAD = {
    "text": ("{images: no}", "coco.json is not JSON"),
    "a list": ("[1, 2]", "coco.json has no list of images"),
    "too deep": ("[" * 200_000 + "]" * 200_000, "is nested too deep"),
    "no annotations": (changed("annotations", to=None), "has no list of annotations"),
    "no categories": (changed("categories", to=[]), "has no list of categories"),
    "no images": (changed("images", to={}), "has no list of images"),
    "no file name": (changed("images", 1, "file_name", to=None), r"has no file_name \(str\) in images\[1\]"),
    "no entry": (changed("images", 1, to="a.jpg"), r"has no id \(int\) in images\[1\]"),
    "id a flag": (changed("images", 1, "id", to=True), r"has no id \(int\) in images\[1\]"),
    "no bbox": (changed("annotations", 2, "bbox", to=None), r"has no bbox \(list\) in annotations\[2\]"),
    "unknown image": (changed("annotations", 2, "image_id", to=4), r"annotations\[2\] of image_id 4, which is not in"),
    "unknown category": (changed("annotations", 0, "category_id", to=4), r"annotations\[0\] of category_id 4"),
    "an image twice": (changed("images", 1, "id", to=7), "has the image id 7 2 times"),
    "a name twice": (changed("images", 1, "file_name", to="x/b.jpg"), "has the file_name 'x/b.jpg' 2 times"),
    "a category twice": (changed("categories", 1, "name", to="kite"), "has the category name 'kite' 2 times"),
    "an annotation twice": (changed("annotations", 1, "id", to=1), "has the annotation id 1 2 times"),
    "a crowd in words": (
        changed("annotations", 0, "iscrowd", to="0"),
        r"has iscrowd '0' in annotations\[0\], which is 0",
    ),
    "half a crowd": (changed("annotations", 0, "iscrowd", to=2), r"has iscrowd '2' in annotations\[0\]"),
    "a flag in a box": (changed("annotations", 0, "bbox", to=[True, 2, 3, 4]), r"has the bbox \[True, 2, 3, 4\]"),
    "an area in words": (changed("annotations", 1, "area", to="9"), r"has the area '9' in annotations\[1\], not a num"),
    "no area": (changed("annotations", 1, "area", to=float("nan")), r"has the area 'nan' in annotations\[1\]"),
    "a huge area": (changed("annotations", 1, "area", to=10**400), r"has the area '1000.*' in annotations\[1\]"),
    "a huge id": (changed("images", 2, "id", to=1 << 63), r"has the image id 9223372036854775808, which is beyond 64"),
    "three numbers": (changed("annotations", 0, "bbox", to=[1, 2, 3]), r"has the bbox \[1, 2, 3\] in annotations\[0\]"),
    "words": (changed("annotations", 0, "bbox", to=[1, 2, 3, "x"]), r"has the bbox .* in annotations\[0\]"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_stops_the_build(tmp_path: Path, capsys, kind: str) -> None:
    """Status 2, one sentence that names the file and the place, and no store."""
    document, reason = BAD[kind]
    assert re.search(reason, refusal_of(capsys, *words_for(tmp_path, document)))
    assert list(tmp_path.glob("s.lmdb*")) == []


BAD_IMAGES = {
    "nan": (
        changed("annotations", 0, "bbox", to=[1, float("nan"), 9, 9]),
        r"a.jpg has the box \[1.0, nan, 10.0, nan\]",
    ),
    "infinite": (changed("annotations", 0, "bbox", to=[float("inf"), 1, float("-inf"), 9]), "a.jpg has the box .inf"),
    "huge": (changed("annotations", 0, "bbox", to=[10**400, 1, 9, 9]), "a.jpg has the box .inf"),
    "another size": (changed("images", 2, "height", to=41), "c.jpg is annotated as 41 x 60 px"),
    "missing": (changed("images", 1, "file_name", to="d.jpg"), "d.jpg is in the annotations, but .* has no such image"),
    "above": (changed("images", 1, "file_name", to="../i/a.jpg"), "points outside"),
    "absolute": (changed("images", 1, "file_name", to="/etc/hostname"), "/etc/hostname points outside"),
    "link": (changed("images", 1, "file_name", to="link.jpg"), "link.jpg points outside"),
    "a folder": (changed("images", 1, "file_name", to="x"), "x cannot be read: it is a directory"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_a_bad_image_is_named_or_left_out(tmp_path: Path, capsys, kind: str) -> None:
    """Of one image: a sentence that names it; --skip-bad builds without it."""
    document, reason = BAD_IMAGES[kind]
    words = words_for(tmp_path, document)
    (tmp_path / "secret.jpg").write_bytes(jpeg(photo(0, 40, 60)))
    (tmp_path / "i/link.jpg").symlink_to(tmp_path / "secret.jpg")
    assert re.search(reason, refusal_of(capsys, *words)) and list(tmp_path.glob("s.lmdb*")) == []
    report = report_of(capsys, *words, "--skip-bad")
    assert report["images"] == 2 and len(report["skipped"]) == 1


def test_coco_needs_its_annotations(tmp_path: Path, capsys) -> None:
    words = words_for(tmp_path, DOCUMENT)
    assert "--format coco needs --annotations" in refusal_of(capsys, *words[:-2])
    assert "cannot read the COCO annotations" in refusal_of(capsys, *words[:-1], tmp_path / "none.json")
    assert "is no folder; name the one that holds the images" in refusal_of(capsys, words[0], "nowhere", *words[2:])

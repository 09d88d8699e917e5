"""A miniature of ILSVRC's folders becomes stores: the kit's class order, its lists, its truth without the blacklist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo
from voc_xml import xml

from sdali.pipelines import ImageStore
from sdali.pipelines.sources.ilsvrc import ilsvrc_loc

COMMAND = ("--format", "ilsvrc-loc")
FILES = {
    "devkit/data/map_clsloc.txt": "n9 1 crane\nn1 2 kit_fox\nn5 3 crane\n",
    "devkit/data/ILSVRC2015_clsloc_validation_ground_truth.txt": "3\n1\n2\n2\n",
    "devkit/data/ILSVRC2015_clsloc_validation_blacklist.txt": "2\n",
    "ImageSets/CLS-LOC/train_cls.txt": "n5/n5_7 1\nn1/n1_3 2\nn9/n9_1 3\n",
    "ImageSets/CLS-LOC/train_loc.txt": "n1/n1_3 1\nn5/n5_7 2\n",
    "ImageSets/CLS-LOC/val.txt": "".join(f"ILSVRC2012_val_{k:08} {k}\n" for k in (1, 2, 3, 4)),
}
BOXES = {
    "train/n1/n1_3": xml([("n1", (1, 1, 60, 40), 0), ("n1", (11, 6, 20, 25), 0)]),
    "train/n5/n5_7": xml([("n5", (2, 3, 9, 9), 0)]),
    "val/ILSVRC2012_val_00000001": xml([("n5", (5, 6, 7, 8), 0)]),
    "val/ILSVRC2012_val_00000003": xml([("n1", (1, 1, 30, 20), 0)]),
    "val/ILSVRC2012_val_00000004": xml([("n1", (2, 2, 30, 20), 0), ("n9", (1, 1, 4, 4), 0)]),
}


def miniature(root: Path, **changes: str | None) -> Path:
    """The set's folders; changes: file name without its folder -> other content, None: without it."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if (changed := changes.get(path.stem, text)) is not None:
            path.write_text(changed)
    for name, text in BOXES.items():
        path = root / "Annotations" / "CLS-LOC" / f"{name}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    names = [*BOXES, "train/n9/n9_1", "val/ILSVRC2012_val_00000002"]
    for seed, name in enumerate(names):
        path = root / "Data" / "CLS-LOC" / f"{name}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(photo(seed, 40, 60)))
    return root


def test_validation_follows_the_kit(tmp_path: Path, capsys) -> None:
    """Labels are the truth's numbers less one, image 2 is on the blacklist, classes of one name stay two."""
    root = miniature(tmp_path / "i")
    report_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "val")
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.classes == ("n9 crane", "n1 kit_fox", "n5 crane")
    assert list(store.names) == [f"ILSVRC2012_val_0000000{k}.JPEG" for k in (1, 3, 4)]
    assert store.labels.tolist() == [2, 1, 1]
    assert store.boxes(0).xyxy.tolist() == [[4, 5, 7, 8]]
    assert store.boxes(2).labels.tolist() == [1, 0]


def test_training_images_with_boxes_and_all_of_them(tmp_path: Path, capsys) -> None:
    """train_loc is the default; train_cls holds images without XML too, in its list's order."""
    root = miniature(tmp_path / "i")
    report_of(capsys, "build", root, tmp_path / "loc.lmdb", *COMMAND)
    loc = ImageStore(tmp_path / "loc.lmdb")
    assert list(loc.names) == ["n1/n1_3.JPEG", "n5/n5_7.JPEG"] and loc.labels.tolist() == [1, 2]
    assert loc.boxes(0).xyxy.tolist() == [[0, 0, 60, 40], [10, 5, 20, 25]]
    report_of(capsys, "build", root, tmp_path / "cls.lmdb", *COMMAND, "--subset", "train_cls")
    all_of_them = ImageStore(tmp_path / "cls.lmdb")
    assert list(all_of_them.names) == ["n5/n5_7.JPEG", "n1/n1_3.JPEG", "n9/n9_1.JPEG"]
    assert all_of_them.labels.tolist() == [2, 1, 0] and len(all_of_them.boxes(2).labels) == 0
    assert all_of_them.classes == loc.classes


def test_an_empty_blacklist_leaves_nothing_out(tmp_path: Path) -> None:
    root = miniature(tmp_path / "i", ILSVRC2015_clsloc_validation_blacklist="")
    assert [item.label for item in ilsvrc_loc(root, subset="val").items] == [2, 0, 1, 1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"map_clsloc": None}, "cannot read .*map_clsloc.txt: No such file"),
        ({"map_clsloc": "\n"}, "map_clsloc.txt has no classes"),
        ({"map_clsloc": "n9 1 crane\nn1 3 kit_fox\n"}, "line 2 of .*map_clsloc.txt should be WNID 2 NAME"),
        ({"map_clsloc": "n9 1 crane\nn9 2 crane\n"}, "map_clsloc.txt has a WNID twice"),
        ({"map_clsloc": "n9 1 crane\nn1 2 fox\n"}, "gives ILSVRC2012_val_00000001 the class 3 of 1 to 2"),
        ({"val": None}, "cannot read .*val.txt"),
        ({"val": "ILSVRC2012_val_00000001\n"}, "line 1 of .*val.txt should be NAME NUMBER"),
        ({"val": "../secret 1\n"}, "line 1 of .*val.txt should be NAME NUMBER"),
        ({"val": "ILSVRC2012_val_00000001 5\n"}, "is number 5 of val, and the ground truth of .* has 4 lines"),
        ({"ILSVRC2015_clsloc_validation_ground_truth": None}, "has 0 files called .*ground_truth.txt"),
        ({"ILSVRC2015_clsloc_validation_blacklist": None}, "has 0 files called .*blacklist.txt"),
        ({"ILSVRC2015_clsloc_validation_ground_truth": "3\n1\n2\nx\n"}, "has 'x' where a number should stand"),
    ],
)
def test_lists_that_do_not_fit_are_one_sentence(tmp_path: Path, capsys, changes: dict, sentence: str) -> None:
    root = miniature(tmp_path / "i", **changes)
    said = refusal_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "val")
    assert re.search(sentence, said), said
    assert not (tmp_path / "s.lmdb").exists()


def test_what_is_wrong_with_one_image_is_said_at_its_turn(tmp_path: Path, capsys) -> None:
    """A WNID that the kit lacks, a missing picture, a missing XML file where all must have one, another subset."""
    root = miniature(tmp_path / "i", train_loc="n1/n1_3 1\nn7/n7_1 2\n")
    assert "have n7/n7_1, and devkit/data/map_clsloc.txt has no n7" in refusal_of(
        capsys, "build", root, tmp_path / "s.lmdb", *COMMAND
    )
    root = miniature(tmp_path / "i", train_loc="n1/n1_4 1\n")
    assert "n1/n1_4.JPEG cannot be read" in refusal_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND)
    root = miniature(tmp_path / "i", train_loc="n9/n9_1 1\n")
    assert "has the annotation" in refusal_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND)
    said = refusal_of(capsys, "build", root, tmp_path / "s.lmdb", *COMMAND, "--subset", "test")
    assert "the subsets of ILSVRC are train_loc, train_cls, val, got test" in said

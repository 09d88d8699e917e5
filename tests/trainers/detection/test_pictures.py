"""Pictures of detections: each box in its colour and place, each text in the picture, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from detecting import no_detections
from pictures import photo
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.trainers.detection.pictures import (
    DIFFICULT,
    LINE,
    MISSED,
    RIGHT,
    TRUTH,
    WRONG,
    DetectionPicture,
    Mark,
    detection_marks,
    marked,
    object_marks,
    save_detection_pictures,
)
from sdali.trainers.metrics.detections import Detections, GroundTruth

CLASSES = ["cat", "dog"]
BLACK = np.zeros((200, 300, 3), np.uint8)
OBJECTS = GroundTruth(
    torch.tensor([[20.0, 40, 90, 90], [120, 40, 180, 90], [200, 40, 280, 90]]),
    torch.tensor([0, 1, 1]),
    torch.tensor([False, False, True]),
)
FOUND = Detections(
    torch.tensor([[20.0, 40, 90, 88], [20, 42, 90, 90], [200, 40, 280, 90], [120, 140, 180, 190]]),
    torch.tensor([0.9, 0.95, 0.5, 0.25]),
    torch.tensor([0, 0, 1, 1]),
)


def coloured(pixels: np.ndarray, colour: tuple[int, ...]) -> np.ndarray:
    return (pixels == np.array(colour, np.uint8)).all(2)


def test_marks_say_what_is_right() -> None:
    """By hand: a missed dog, a wrong dog, a difficult one, a cat found twice: the better is right; the best on top."""
    assert [(mark.text, mark.colour) for mark in detection_marks(FOUND, OBJECTS, CLASSES)] == [
        ("dog missed", MISSED),
        ("dog 0.25 wrong", WRONG),
        ("dog 0.50 difficult", DIFFICULT),
        ("cat 0.90 wrong", WRONG),
        ("cat 0.95", RIGHT),
    ]
    assert [(mark.text, mark.colour) for mark in object_marks(OBJECTS, CLASSES)] == [
        ("cat", TRUTH),
        ("dog", TRUTH),
        ("dog difficult", DIFFICULT),
    ]


@pytest.mark.parametrize("colour", [RIGHT, WRONG, MISSED])
def test_lines_lie_where_the_box_is(colour: tuple[int, int, int]) -> None:
    """Inside it and LINE wide; solid for what is right, broken for the others; the rest of the picture is untouched."""
    found = coloured(marked(BLACK, [Mark([50, 60, 150, 120], colour, "")]), colour)
    frame = np.zeros(BLACK.shape[:2], bool)
    frame[60:120, 50:150] = True
    frame[60 + LINE : 120 - LINE, 50 + LINE : 150 - LINE] = False
    plate = np.zeros_like(frame)
    plate[:61, 50:60] = True  # of the text, though it has no letters
    assert not (found & ~frame & ~plate).any()
    share = found[frame].mean()
    assert share == 1 if colour == RIGHT else 0.35 < share < 0.75
    for edge in (found[60, 50:150], found[119, 50:150], found[60:120, 50], found[60:120, 149]):
        assert edge.any()


@pytest.mark.parametrize(
    "box", [[0, 0, 300, 200], [280, 0, 300, 9], [290, 190, 300, 200], [5, 5, 5, 5], [0, 30, 9, 40]]
)
def test_texts_stay_in_the_picture(box: list[float]) -> None:
    """At every border the whole plate, with its letters in it, can be seen."""
    picture = marked(BLACK, [Mark(box, TRUTH, "an object")])
    alone = marked(BLACK, [Mark([100, 100, 110, 110], TRUTH, "an object")])
    letters = (marked(BLACK, []) != alone).any(2).sum()
    assert (picture != BLACK).any(2).sum() >= 0.9 * letters
    assert coloured(picture, TRUTH).any() and picture.shape == BLACK.shape and not BLACK.any()


def test_a_sheet_of_several(tmp_path: Path) -> None:
    """A row an image, every kind is on it; names that cannot be printed, empty images and large ones are drawn."""
    nothing = GroundTruth(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool))
    rows = [
        DetectionPicture("folder/a.jpg", BLACK, FOUND, OBJECTS),
        DetectionPicture("two\nlines \udcff", photo(0, 900, 300), no_detections(), nothing),
        DetectionPicture("猫", photo(1, 5, 700), no_detections(), OBJECTS),
    ]
    save_detection_pictures(tmp_path / "d.png", rows, ["\x00cat", "dog"])
    with Image.open(tmp_path / "d.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture)
    assert pixels.shape[0] > 3 * 480
    for colour in (RIGHT, WRONG, MISSED, TRUTH, DIFFICULT):
        assert coloured(pixels, colour).sum() > 200, colour


def test_low_scores_are_left_out_and_the_title_says_so(tmp_path: Path) -> None:
    """Of one box right at 0.4, at least 0.5 leaves an object missed; the titles of the two sheets differ."""
    box = torch.tensor([[20.0, 20, 60, 60]])
    objects = GroundTruth(box, torch.tensor([0]), torch.tensor([False]))
    one = DetectionPicture("a", BLACK, Detections(box, torch.tensor([0.4]), torch.tensor([0])), objects)
    sheets = []
    for least in (0.4, 0.5):
        save_detection_pictures(tmp_path / "d.png", [one], CLASSES, least_score=least, overwrite=True)
        sheets.append(np.asarray(Image.open(tmp_path / "d.png")))
    found = [(coloured(sheet, RIGHT).any(), coloured(sheet, MISSED).any()) for sheet in sheets]
    assert found == [(True, False), (False, True)]
    assert (sheets[0][:50] != sheets[1][:50]).any()


def test_boxes_shrink_with_their_image(tmp_path: Path) -> None:
    """An image of 960 px is shown at 480, so the box's sides are half as far apart."""
    picture = np.zeros((960, 960, 3), np.uint8)
    objects = GroundTruth(torch.tensor([[200.0, 400, 600, 800]]), torch.tensor([0]), torch.tensor([False]))
    save_detection_pictures(tmp_path / "d.png", [DetectionPicture("a", picture, no_detections(), objects)], CLASSES)
    found = coloured(np.asarray(Image.open(tmp_path / "d.png")), TRUTH)
    rows = np.flatnonzero(found.sum(1) >= 200)
    assert rows.max() - rows.min() == 199


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    rows = [DetectionPicture("a", BLACK, FOUND, OBJECTS)]
    for path in (tmp_path / "none" / "d.png", tmp_path):
        with pytest.raises(InputError, match=f"cannot write {path}"):
            save_detection_pictures(path, rows, CLASSES)
    assert list(tmp_path.iterdir()) == []

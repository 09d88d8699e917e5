"""The confusion picture: legible for any number of classes, shades and sides by the counts, whole or not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sdali.cams.drawing.fonts import font
from sdali.pipelines.errors import InputError
from sdali.trainers.classification import pictures as confusion_picture
from sdali.trainers.classification.pictures import (
    EMPTY,
    NAME_WIDTH,
    RIGHT,
    WRONG,
    save_confusion_picture,
    shortened,
    tint,
)


def saved(path: Path, counts: np.ndarray, classes: list[str] | None = None) -> np.ndarray:
    """The picture's pixels, uint8 [H, W, 3]."""
    save_confusion_picture(path, counts, classes or [f"class {k}" for k in range(len(counts))])
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def area(pixels: np.ndarray, colour: tuple[int, ...]) -> int:
    return int((pixels == np.array(colour, np.uint8)).all(2).sum())


def test_a_cell_is_shaded_by_its_share_of_the_row(tmp_path: Path) -> None:
    """Of 4 images 1 is taken for another: the root of 1/4 and of 3/4; a row without images is grey throughout."""
    pixels = saved(tmp_path / "c.png", np.array([[3, 1, 0], [0, 9, 0], [0, 0, 0]]))
    cell = 82 * 82  # without the line between cells; a number covers some of it
    for colour, cells in (
        (tint(RIGHT, 0.75**0.5), 1),
        (tint(WRONG, 0.5), 1),
        (RIGHT, 1),
        (EMPTY, 3),
    ):
        assert cells * cell * 0.7 < area(pixels, colour) < cells * cell * 1.25, colour


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 3, 10, 37, 40, 41, 365, 1000])
def test_any_number_of_classes_stays_legible(tmp_path: Path, classes: int) -> None:
    """No picture is larger than 2,160 px a side, and three digits fit into every cell."""
    counts = np.random.default_rng(0).integers(0, 900, (classes, classes))
    names = [f"{k} of a rather long name of a class" for k in range(classes)]
    assert max(saved(tmp_path / "c.png", counts, names).shape) < 2160
    assert confusion_picture._fitting_size("888", confusion_picture._shown(counts, names).cell) is not None


def test_of_many_classes_the_worst_are_shown() -> None:
    """By hand: k images of class k are taken for class 0, which is left out of the picture but for its last column."""
    counts = np.diag(np.full(50, 100))
    counts[:, 0] += np.arange(50)
    counts[49, 48] += 1000
    shown = confusion_picture._shown(counts, [f"c{k}" for k in range(50)])
    assert shown.rows == [f"c{k}" for k in range(49, 19, -1)]
    assert shown.columns == [*shown.rows, "20 others"]
    assert shown.counts[0].tolist() == [100, 1000, *[0] * 28, 49]
    assert shown.images.tolist() == [1149, *(100 + k for k in range(48, 19, -1))]
    assert "30 of 50 classes with the most errors" in shown.captions[-1]
    assert shown.title == f"{100 * 5000 / counts.sum():.1f} % right: 5,000 of {counts.sum():,} images"


def test_long_names_keep_both_ends() -> None:
    """What is left fits, and as much as fits is left."""
    text = font(18)
    name = "an exceedingly long name, of the first of two"
    short = shortened(name, text)
    begin, end = short.split("…")
    assert name.startswith(begin) and name.endswith(end) and abs(len(begin) - len(end)) <= 1
    assert NAME_WIDTH - 20 < text.getlength(short) <= NAME_WIDTH
    assert shortened("short", text) == "short"


@pytest.mark.parametrize("name", ["two\nlines", "\udcff", "", "猫", "\x00"])
def test_strange_names_are_drawn(tmp_path: Path, name: str) -> None:
    """Whole, with both right cells."""
    usual = saved(tmp_path / "usual.png", np.eye(2, dtype=int), ["a", "b"])
    assert area(saved(tmp_path / "c.png", np.eye(2, dtype=int), [name, "b"]), RIGHT) == pytest.approx(
        area(usual, RIGHT), abs=20
    )


def test_counts_without_any_image_are_drawn(tmp_path: Path) -> None:
    assert area(saved(tmp_path / "c.png", np.zeros((2, 2), int)), RIGHT) < 1000  # the legend alone


def test_what_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    """And what was there before stays; nothing else is left."""
    counts = np.eye(3, dtype=int)
    for path in (tmp_path / "none" / "c.png", tmp_path):
        with pytest.raises(InputError, match=f"cannot write {path}"):
            save_confusion_picture(path, counts, ["a", "b", "c"])
    (tmp_path / "c.png").write_text("before")
    with pytest.raises(InputError, match=r"confusion counts of 2 classes cannot be \[3, 3\]"):
        save_confusion_picture(tmp_path / "c.png", counts, ["a", "b"])
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]

"""Predictions are read back as written, in the development kit's numbers; wrong lines are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.trainers.localization.predictions import Predictions, inclusive_pixels, read_predictions, write_predictions
from sdali.trainers.metrics.localization_error import inclusive_iou

ONE = Predictions(np.array([0]), np.array([[1.0, 1, 3, 4]]))


def test_the_kit_s_format(tmp_path: Path) -> None:
    """By hand: labels from 1, five numbers an answer, a line an image."""
    two = Predictions(np.array([6, 0]), np.array([[1.0, 2, 300, 400], [5, 5, 5, 5]]))
    write_predictions(tmp_path / "a.txt", [two, ONE])
    assert (tmp_path / "a.txt").read_text() == "7 1 2 300 400 1 5 5 5 5\n1 1 1 3 4\n"


@given(st.integers(0, 10_000), st.integers(0, 6), st.booleans())
def test_read_back_as_written(tmp_path_factory: pytest.TempPathFactory, seed: int, images: int, whole: bool) -> None:
    """One to five answers, whole pixels or, as other tools write them, fractions."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(images):
        count = int(rng.integers(1, 6))
        boxes = np.sort(rng.uniform(1, 500, (count, 2, 2)).round(0 if whole else 3), axis=1).reshape(-1, 4)
        made.append(Predictions(rng.integers(0, 1000, count), boxes))
    path = tmp_path_factory.mktemp("answers") / "a.txt"
    write_predictions(path, made)
    for found, own in zip(read_predictions(path, images=images, classes=1000), made, strict=True):
        assert found.labels.dtype == np.int64 and found.boxes.dtype == np.float64
        np.testing.assert_array_equal(found.labels, own.labels)
        np.testing.assert_array_equal(found.boxes, own.boxes)


@given(st.integers(0, 10_000))
def test_pixels_of_whole_edges_have_the_same_overlap(seed: int) -> None:
    """Continuous edges 0, 0, w, h are pixels 1, 1, w, h: the same area, the same IoU; and inside the image."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 30, (6, 2))
    edges = np.concatenate([corner, corner + rng.integers(1, 20, (6, 2))], 1)
    pixels = inclusive_pixels(edges, 50, 50)
    areas = (edges[:, 2:] - edges[:, :2]).prod(1)
    shared = np.array(
        [[len(set(_inside(a)) & set(_inside(b))) for b in edges.tolist()] for a in edges.tolist()], np.float64
    )
    np.testing.assert_allclose(inclusive_iou(pixels, pixels), shared / (areas[:, None] + areas - shared))
    assert pixels.min() >= 1 and pixels.max() <= 50


def _inside(box: list[int]) -> list[tuple[int, int]]:
    return [(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])]


def test_pixels_of_other_edges() -> None:
    """By hand: rounded, clipped, and never empty."""
    edges = np.array([[0.4, 0.6, 9.5, 9.4], [-7, -7, 90, 90], [3.1, 3.2, 3.3, 3.4], [60, 60, 70, 70], [-9, -9, -5, -5]])
    assert inclusive_pixels(edges, 40, 50).tolist() == [
        [1, 2, 10, 9],
        [1, 1, 50, 40],
        [4, 4, 4, 4],
        [50, 40, 50, 40],
        [1, 1, 1, 1],
    ]
    assert inclusive_pixels(np.zeros((0, 4)), 40, 50).shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has 0 lines for 2 images"),
        ("1 1 1 3 4\n", "has 1 lines for 2 images"),
        ("1 1 1 3 4\n" * 3, "has 3 lines for 2 images"),
        ("1 1 1 3 4\n\n", "line 2 of .* has 0 numbers"),
        ("1 1 1 3 4\n1 1 1 3\n", "line 2 of .* has 4 numbers"),
        ("1 1 1 3 4 " * 6 + "\n1 1 1 3 4\n", "line 1 of .* has 30 numbers"),
        ("1 1 1 3 x\n1 1 1 3 4\n", "line 1 of .* has 'x' in place of a finite number"),
        ("1 1 1 3 nan\n1 1 1 3 4\n", "has 'nan'"),
        ("1 1 1 3 1e999\n1 1 1 3 4\n", "has '1e999'"),
        ("0 1 1 3 4\n1 1 1 3 4\n", "has label 0; labels are whole numbers, 1 to 7"),
        ("1 1 1 3 4\n8 1 1 3 4\n", "line 2 of .* has label 8"),
        ("1.5 1 1 3 4\n1 1 1 3 4\n", "has label 1.5"),
        ("1 5 1 3 4\n1 1 1 3 4\n", "has the box 5 1 3 4, which ends before it begins"),
        ("1 1 1 3 4\n1 1 1 3 \xff\n", "is no text of numbers"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text, "latin-1")
    with pytest.raises(InputError, match=message) as caught:
        read_predictions(tmp_path / "a.txt", images=2, classes=7)
    assert "\n" not in str(caught.value) and "a.txt" in str(caught.value)


def test_what_cannot_be_read_or_written(tmp_path: Path) -> None:
    """And what was there before stays."""
    with pytest.raises(InputError, match=r"cannot read .*none\.txt"):
        read_predictions(tmp_path / "none.txt", images=2, classes=7)
    with pytest.raises(InputError, match="cannot write"):
        write_predictions(tmp_path / "none" / "a.txt", [ONE])
    write_predictions(tmp_path / "a.txt", [ONE])
    for count in (0, 6):
        with pytest.raises(InputError, match=f"image 2 has {count} predictions and .*a.txt can hold 1 to 5"):
            many = Predictions(ONE.labels.repeat(count), ONE.boxes.repeat(count, 0))
            write_predictions(tmp_path / "a.txt", [ONE, many])
    assert (tmp_path / "a.txt").read_text() == "1 1 1 3 4\n"

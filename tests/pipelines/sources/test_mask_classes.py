"""Values of masks become places in the list of classes, or are named as values of no class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.sources.masks import IGNORE, MaskClasses, from_file, in_order


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def test_masks_of_places_are_kept_byte_for_byte() -> None:
    """CamVid's 0 to 10 and 11: the same bytes, and the store ignores what the source did."""
    classes = in_order([f"class {k}" for k in range(11)], 11)
    data = encode_mask(np.random.default_rng(0).integers(0, 12, (9, 13), np.uint8))
    assert classes.converted(data) is data and classes.ignore_index == 11


def test_other_values_are_renumbered_without_loss() -> None:
    """ADE20K's 0 and 1 to 150: each pixel's value, looked up one by one, and back again."""
    classes = in_order([f"class {k}" for k in range(150)], 0)
    mask = np.random.default_rng(0).integers(0, 151, (40, 50), np.uint8)
    found = decoded(classes.converted(encode_mask(mask)))
    assert classes.ignore_index == IGNORE == 255
    assert all(
        new == (value - 1 if value else 255) for new, value in zip(found.flat, mask.astype(int).flat, strict=True)
    )


def test_any_values_may_be_named(tmp_path: Path) -> None:
    """A file of "VALUE: name" in any order: class k is the k-th line."""
    path = tmp_path / "names.txt"
    path.write_text("7: road\n\n 8 : pavement\n3:car\n", "utf-8")
    classes = from_file(path, 0)
    assert classes == MaskClasses(("road", "pavement", "car"), (7, 8, 3), 0)
    assert decoded(classes.converted(encode_mask(np.array([[0, 3, 7, 8]], np.uint8)))).tolist() == [[255, 2, 0, 1]]
    path.write_text("road\npavement\ncar\n", "utf-8")
    assert from_file(path, 1) == MaskClasses(("road", "pavement", "car"), (0, 2, 3), 1)


@pytest.mark.parametrize("value", [3, 254])
def test_a_value_of_no_class_is_named(value: int) -> None:
    mask = np.array([[0, 1, 2, 255, value]], np.uint8)
    with pytest.raises(
        InputError, match=rf"value {value}, none of the 3 classes \(0 to 2\) and not the ignore index 255"
    ):
        in_order(["a", "b", "c"], 255).converted(encode_mask(mask))


@pytest.mark.parametrize(
    ("text", "ignored", "reason"),
    [
        ("", 255, "has no class names"),
        ("0: a\nb\n", 255, "all in one way"),
        ("0: a\n0: b\n", 255, "the mask value 0 would have two meanings"),
        ("4: a\n", 4, "the mask value 4 would have two meanings"),
        ("300: a\n", 255, "values of masks are 0 to 255, ignored or not; got 255 to 300"),
        ("a\n", -1, "got -1 to 0"),
    ],
)
def test_class_names_that_are_none(tmp_path: Path, text: str, ignored: int, reason: str) -> None:
    (tmp_path / "names.txt").write_text(text, "utf-8")
    with pytest.raises(InputError, match=reason):
        from_file(tmp_path / "names.txt", ignored)
    with pytest.raises(InputError, match=r"cannot read the class names .*none\.txt: No such file"):
        from_file(tmp_path / "none.txt", ignored)

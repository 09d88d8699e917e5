"""IoU-constrained crops: each window keeps its promise, checked with plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from sdali.pipelines import InputError, IouCrop
from sdali.pipelines.plan.crops import iou as crop_iou

SIZE = np.array([120, 160])
BOX = np.array([[40.0, 30.0, 90.0, 80.0]])


def windows_of(crop: IouCrop, boxes: np.ndarray, count: int = 400) -> np.ndarray:
    u = np.random.default_rng(0).random((count, crop_iou.WORDS))
    return crop_iou.draw(crop, np.tile(SIZE, (count, 1)), [boxes] * count, u)


@pytest.mark.parametrize("least", [0.0, 0.3, 0.7])
def test_a_window_overlaps_an_object_enough(least: float) -> None:
    """Its centre lies inside, the IoU is as large, sides and aspect ratio are in their ranges; else it is whole."""
    windows = windows_of(IouCrop(probability=1, least_ious=(least,)), BOX)
    whole = (windows == (0, 0, *SIZE)).all(1)
    assert whole.mean() < (0.05 if least < 0.5 else 0.99) and not whole.all()
    for y, x, height, width in windows[~whole].tolist():
        assert 0 <= y <= 120 - height and 0 <= x <= 160 - width
        assert height >= 0.29 * 120 and width >= 0.29 * 160 and 0.5 <= width / height <= 2
        assert x <= 65 < x + width and y <= 55 < y + height
        common = (min(x + width, 90) - max(x, 40)) * (min(y + height, 80) - max(y, 30))
        assert common / (height * width + 2500 - common) >= least


def test_without_objects_or_luck_the_image_is_whole() -> None:
    """Where nothing can be kept, nothing can overlap, or no crop is to be."""
    whole = (0, 0, *SIZE)
    assert (windows_of(IouCrop(probability=1), np.zeros((0, 4))) == whole).all()
    assert (windows_of(IouCrop(probability=1, least_ious=(1.0,)), BOX) == whole).all()
    assert (windows_of(IouCrop(), BOX) == whole).all()
    share = (windows_of(IouCrop(probability=0.5, least_ious=(0.0,)), BOX) == whole).all(1).mean()
    assert abs(share - 0.5) < 0.1


def test_damaged_boxes_give_the_whole_image() -> None:
    """Numbers that are none neither raise nor are followed."""
    with np.errstate(all="raise"):
        assert (windows_of(IouCrop(probability=1), np.full((2, 4), np.nan)) == (0, 0, *SIZE)).all()


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ({"probability": 1.5}, r"crop probability must be within \[0, 1\], got 1.5"),
        ({"least_ious": ()}, "crop least_ious must be some numbers"),
        ({"least_ious": (2,)}, r"crop least_ious must be some numbers within \[0, 1\], got \(2,\)"),
        ({"side": (0, 1)}, "crop side must be two ascending numbers above 0"),
        ({"aspect": (2, 1)}, "crop aspect must be two ascending numbers"),
    ],
)
def test_crops_that_are_none(crop: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IouCrop(**crop)

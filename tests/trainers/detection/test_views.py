"""Boxes go to a view as its pixels do, and come back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.detection.fusion import View

SIDES = st.tuples(st.integers(1, 900), st.integers(1, 900))


@given(SIDES, SIDES, st.booleans(), st.integers(0, 1000))
def test_there_and_back(original: tuple[int, int], size: tuple[int, int], mirrored: bool, seed: int) -> None:
    """Within rounding; the whole image is the whole view, and boxes of any shape [..., 4] stay xyxy."""
    view = View(original=original, size=size, mirrored=mirrored)
    corners = np.sort(np.random.default_rng(seed).random((3, 5, 2, 2)), axis=2) * original[::-1]
    boxes = torch.from_numpy(corners.reshape(3, 5, 4))
    there = view.from_original(boxes)
    assert (there[..., 2:] >= there[..., :2]).all()
    torch.testing.assert_close(view.to_original(there), boxes, rtol=0, atol=1e-9)
    whole = view.from_original(torch.tensor([0.0, 0, original[1], original[0]], dtype=torch.float64))
    assert whole.tolist() == pytest.approx([0, 0, size[1], size[0]], abs=1e-9)


@pytest.mark.parametrize("mirrored", [False, True])
def test_boxes_stay_on_their_pixels(mirrored: bool) -> None:
    """A white rectangle, scaled and mirrored by OpenCV, is found again where the box says."""
    image = np.zeros((60, 100), np.uint8)
    image[20:40, 10:50] = 255
    scaled = cv2.resize(image, (150, 120), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.nonzero(scaled[:, ::-1] if mirrored else scaled)
    view = View(original=(60, 100), size=(120, 150), mirrored=mirrored)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert view.from_original(torch.tensor([10.0, 20, 50, 40])).tolist() == found

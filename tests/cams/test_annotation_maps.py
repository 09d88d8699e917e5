"""Heatmaps from masks and boxes against sums over a picture enlarged until every cell is a whole number of pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from heatmap_reference import enlarged_shares
from hypothesis import given
from hypothesis import strategies as st

from sdali.cams.annotation_maps import boxes_heatmap, cell_shares, mask_heatmap
from sdali.pipelines.store.heatmaps import quantise


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_shares_are_exact_for_any_sizes(height: int, width: int, grid: int, seed: int) -> None:
    """Larger, smaller or indivisible: a cell's share is its mean over infinitely fine pixels."""
    picture = np.random.default_rng(seed).random((height, width))
    shares = cell_shares(picture, np.arange(height + 1.0), np.arange(width + 1.0), grid)
    np.testing.assert_allclose(shares, enlarged_shares(picture, grid), atol=1e-12)


def test_shares_agree_with_opencv_where_it_is_exact() -> None:
    """cv2.INTER_AREA shrinks by the same weights."""
    picture = np.random.default_rng(0).random((389, 438))
    shares = cell_shares(picture, np.arange(390.0), np.arange(439.0), 32)
    np.testing.assert_allclose(shares, cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA), atol=1e-6)


@pytest.mark.parametrize(
    ("foreground", "object_values"), [(None, [1, 2, 3, 254]), ((1, 3), [1, 3]), ((0,), [0]), ((255,), [255])]
)
def test_foreground_values_choose_the_object(foreground: tuple[int, ...] | None, object_values: list[int]) -> None:
    """The map is the share of the chosen values; by default of all but 0 and 255."""
    mask = np.random.default_rng(1).choice(np.array([0, 1, 2, 3, 254, 255], np.uint8), (45, 61))
    is_object = np.isin(mask, object_values)
    assert np.array_equal(mask_heatmap(mask, foreground, grid=8), quantise(enlarged_shares(is_object.astype(float), 8)))


def test_a_mask_without_foreground_gives_zeros() -> None:
    """Background, or background and "ignore", leave the map empty, so the loader draws plainly."""
    mask = np.zeros((20, 30), np.uint8)
    mask[:5] = 255
    assert mask_heatmap(mask).shape == (32, 32) and not mask_heatmap(mask).any()


@given(st.lists(st.tuples(*[st.integers(-8, 40)] * 4), max_size=5), st.integers(1, 9))
def test_boxes_equal_their_rasterised_union(corners: list[tuple[int, ...]], grid: int) -> None:
    """Whole-pixel boxes, also overlapping, inverted, empty or outside the image, equal a mask painted with them."""
    boxes, mask = np.array(corners, np.float32).reshape(-1, 4), np.zeros((24, 30), np.uint8)
    for x0, y0, x1, y1 in np.maximum(boxes.astype(int), 0):
        mask[y0:y1, x0:x1] = 1
    difference = boxes_heatmap(boxes, 24, 30, grid).astype(int) - mask_heatmap(mask, grid=grid)
    assert np.abs(difference).max() <= 1  # one level: halves may round either way


def test_a_box_with_fractional_edges_is_weighed_by_area() -> None:
    """A box of 1.5 x 1 cells gives a whole cell and a half one."""
    boxes = np.array([[0, 0, 15.0, 10.0]], np.float32)
    assert boxes_heatmap(boxes, 40, 40, grid=4)[0].tolist() == [255, 128, 0, 0]

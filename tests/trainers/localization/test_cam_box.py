"""The box of a map against a flood fill in plain Python."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.localization.methods import cam_box


def filled(high: np.ndarray) -> list[int]:
    """The box of the largest piece of True pixels, over corners too; the first by top, then left, of equal ones."""
    left, pieces = set(zip(*np.nonzero(high), strict=True)), []
    while left:
        stack = [left.pop()]
        piece = [*stack]
        while stack:
            y, x = stack.pop()
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            piece += near
            stack += near
        rows, columns = zip(*piece, strict=True)
        pieces.append((-len(piece), min(rows), min(columns), max(columns) + 1, max(rows) + 1))
    _, top, x, right, bottom = min(pieces)
    return [int(edge) for edge in (x, top, right, bottom)]


@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(1, 14), st.sampled_from([0.2, 0.5, 0.8]))
def test_equals_a_flood_fill(seed: int, height: int, width: int, share: float) -> None:
    """Of a map that is as large as its image: pieces, ties and single pixels."""
    heatmap = np.random.default_rng(seed).integers(-1, 6, (height, width)).astype(np.float32) ** 3
    highest = heatmap.max()
    expected = filled(heatmap > np.float32(share * highest)) if highest > 0 else [0, 0, width, height]
    assert cam_box(heatmap, height, width, share).tolist() == expected


@given(st.integers(0, 10_000))
def test_the_map_is_enlarged_to_the_image(seed: int) -> None:
    """Linearly between the centres of its cells, up to a border where it stays as it is; by definition, in float64."""
    rng = np.random.default_rng(seed)
    heatmap = rng.random((3, 4)).astype(np.float32)
    rows, columns = [np.clip((np.arange(8 * n) + 0.5) / 8 - 0.5, 0, n - 1) for n in (3, 4)]
    across = np.stack([np.interp(columns, np.arange(4), row) for row in heatmap.astype(float)])
    smooth = np.stack([np.interp(rows, np.arange(3), column) for column in across.T], 1)
    threshold = 0.6 * smooth.max()
    if np.abs(smooth - threshold).min() < 1e-5:  # float32 may round a pixel across
        return
    assert cam_box(heatmap, 24, 32, 0.6).tolist() == filled(smooth > threshold)


def test_maps_without_a_maximum() -> None:
    """A constant map, or one that is nowhere positive or no number, boxes the whole image."""
    for heatmap in (np.ones((7, 7)), np.zeros((7, 7)), np.full((7, 7), -3), np.full((7, 7), np.nan)):
        box = cam_box(heatmap, 40, 60)
        assert box.dtype == np.float32 and box.tolist() == [0, 0, 60, 40]


def test_uint8_maps_and_large_images() -> None:
    """As a heatmap store has them: one hot cell of 2 x 2, which stays hot up to 20 % on the way to its neighbours."""
    heatmap = np.array([[255, 0], [0, 0]], np.uint8)
    scaled = cv2.resize(heatmap.astype(np.float32), (4000, 3000), interpolation=cv2.INTER_LINEAR)
    rows, columns = np.nonzero(scaled > 51)
    assert cam_box(heatmap, 3000, 4000).tolist() == [0, 0, columns.max() + 1, rows.max() + 1]
    assert columns.max() + 1 == pytest.approx(1000 + 0.8 * 2000, abs=2)

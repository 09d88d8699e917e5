"""Boxes are moved as plan rows move pixels, and kept as stores keep them: against scalar arithmetic, box by box."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.plan.parsing import PARSING_PLAN
from sdali.pipelines.store.boxes import Boxes, centred_in, inside, iou, moved


def boxes_at(xyxy: object) -> Boxes:
    corners = np.array(xyxy, np.float64).reshape(-1, 4)
    return Boxes(corners, np.arange(len(corners)), np.arange(len(corners)) % 2 == 1)


def row_of(window: list[int], placed: list[int], flip: bool) -> np.void:
    row = np.zeros(1, PARSING_PLAN)[0]
    row["window"], row["placed"], row["flip"] = window, placed, flip
    return row


sides = st.integers(1, 50)


@given(
    st.lists(st.tuples(*[st.floats(0, 60)] * 4), max_size=6),
    st.tuples(st.integers(0, 30), st.integers(0, 30), sides, sides),
    st.tuples(st.integers(0, 9), st.integers(0, 9), sides, sides),
    st.booleans(),
)
def test_a_box_is_moved_as_its_corners_are(corners, window, placed, flip: bool) -> None:
    """Corner by corner: into the window, clipped, scaled, mirrored, into its place; those centred outside are gone."""
    boxes = boxes_at([[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in corners])
    got = moved(boxes, row_of(list(window), list(placed), flip))
    (y, x, height, width), (top, left, tall, wide) = window, placed
    want = []
    for label, (x0, y0, x1, y1) in enumerate(boxes.xyxy.tolist()):
        if not (x <= (x0 + x1) / 2 < x + width and y <= (y0 + y1) / 2 < y + height):
            continue
        across = [min(max(edge - x, 0), width) / width * wide for edge in (x0, x1)]
        down = [min(max(edge - y, 0), height) / height * tall for edge in (y0, y1)]
        across = [wide - across[1], wide - across[0]] if flip else across
        want.append((label, [left + across[0], top + down[0], left + across[1], top + down[1]]))
    assert got.labels.tolist() == [label for label, _ in want]
    assert got.difficult.tolist() == [label % 2 == 1 for label, _ in want]
    np.testing.assert_allclose(got.xyxy, np.array([box for _, box in want]).reshape(-1, 4), atol=1e-4)
    assert got.xyxy.dtype == np.float32 and got.xyxy.shape == (len(want), 4)


def test_a_store_keeps_what_lies_inside() -> None:
    """Clipped, dropped and untouched, each counted, flags with their boxes."""
    kept, clipped, dropped = inside(boxes_at([[0, 0, 9, 5], [-1, 1, 3, 9], [4, 4, 5, 5], [20, 1, 30, 4]]), 5, 9)
    assert kept.xyxy.tolist() == [[0, 0, 9, 5], [0, 1, 3, 5]] and (clipped, dropped) == (1, 2)
    assert kept.labels.tolist() == [0, 1] and kept.difficult.tolist() == [False, True]
    assert inside(boxes_at([]), 5, 9)[0].xyxy.shape == (0, 4)
    with pytest.raises(InputError, match=r"has the box \[0.0, 1.0, nan, 4.0\], whose edges are not all numbers"):
        inside(boxes_at([[0, 0, 9, 5], [0, 1, np.nan, 4]]), 5, 9)


def test_overlap_is_counted_in_pixels() -> None:
    """Of whole-pixel boxes and windows: intersection and union of their pixel sets; centres one by one."""
    rng = np.random.default_rng(0)
    low, low_window = rng.integers(0, 12, (8, 2)), rng.integers(0, 12, (9, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 9, (8, 2))], 1)
    windows = np.concatenate([low_window, rng.integers(1, 9, (9, 2))], 1)
    overlaps, centred = iou(boxes, windows), centred_in(boxes, windows)
    for t, (y, x, height, width) in enumerate(windows.tolist()):
        for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            first = {(i, j) for i in range(x, x + width) for j in range(y, y + height)}
            second = {(i, j) for i in range(x0, x1) for j in range(y0, y1)}
            assert overlaps[t, k] == pytest.approx(len(first & second) / len(first | second))
            assert centred[t, k] == (x <= (x0 + x1) / 2 < x + width and y <= (y0 + y1) / 2 < y + height)
    assert 0 < centred.mean() < 1

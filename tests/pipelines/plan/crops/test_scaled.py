"""Windows of scaled images: whole where the scaled image fits into the output, else as large as the output."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.plan.crops import scaled as crop_scaled


@given(st.integers(1, 3000), st.integers(1, 700), st.floats(0.05, 20))
def test_one_side_is_cropped_or_padded(side: int, output: int, factor: float) -> None:
    """By cases, side by side: never both, at least a pixel, and scaled by the factor but for half a pixel."""
    (windows,), (filled,) = crop_scaled.fit(np.array([[side, 1]]), np.array([[factor]]), (output, 1))
    window, fills = int(windows[0]), int(filled[0])
    assert 1 <= window <= side and 1 <= fills <= output
    if side * factor + 0.5 < output + 1:
        assert window == side and abs(fills - max(side * factor, 1)) <= 0.5 + 1e-9
    else:
        assert fills == output and (abs(window - output / factor) <= 0.5 + 1e-9 or window in (1, side))


def test_cases_by_hand() -> None:
    """A 100 x 300 image into 150 x 150: at 1 padded and cropped, at 2 cropped twice, at 0.4 padded twice."""
    for factor, window, filled in [
        (1.0, [100, 150], [100, 150]),
        (2.0, [75, 75], [150, 150]),
        (0.4, [100, 300], [40, 120]),
        (1.5, [100, 100], [150, 150]),
    ]:
        windows, fills = crop_scaled.fit(np.array([[100, 300]]), np.array([[factor]]), (150, 150))
        assert (windows.tolist(), fills.tolist()) == ([window], [filled])


def test_a_base_size_replaces_the_original() -> None:
    """shorter_side 180 makes a scale of 1 half of 360 x 480; None leaves the image as it is."""
    sizes = np.array([[360, 480], [900, 720]])
    np.testing.assert_allclose(crop_scaled.factors(sizes, 180, 1.0), [[0.5], [0.25]])
    np.testing.assert_allclose(crop_scaled.factors(sizes, None, np.array([0.5, 2])), [[0.5], [2]])
    assert crop_scaled.scaled_sizes(sizes, crop_scaled.factors(sizes, 180, 1.0)).tolist() == [[180, 240], [225, 180]]


@pytest.mark.parametrize("room", [0, 1, 7])
def test_offsets_are_uniform_over_what_is_left(room: int) -> None:
    u = np.random.default_rng(0).random((8000, 2))
    found = crop_scaled.offsets(np.full((8000, 2), room), u)
    counts = np.bincount(found.ravel(), minlength=room + 1)
    assert len(counts) == room + 1 and np.abs(counts / counts.sum() * (room + 1) - 1).max() < 0.1

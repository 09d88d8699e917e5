from __future__ import annotations

import numpy as np
import pytest
import torch

from sdali.pipelines.errors import InputError
from sdali.pipelines.plan.crops.guided import cells_of, draw_centres
from sdali.pipelines.plan.random_words import Purpose, uniforms


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_cells_are_drawn_in_proportion(gamma: float) -> None:
    """The share of each cell is value ** gamma over the sum (40,000 draws, five standard errors)."""
    values = np.array([[0, 10, 20], [255, 0, 100]], np.uint8)
    count = 40_000
    u = uniforms(0, 0, Purpose.GUIDE, 0, count, 3)
    centres, positive = draw_centres(
        cells_of([values] * count, np.arange(count)), np.tile([200, 300], (count, 1)), u, gamma
    )
    assert positive.all()
    drawn = np.zeros((2, 3))
    np.add.at(drawn, ((centres[:, 0] // 100).astype(int), (centres[:, 1] // 100).astype(int)), 1 / count)
    expected = (values / 255.0) ** gamma
    expected /= expected.sum()
    assert (np.abs(drawn - expected) <= 5 * np.sqrt(expected * (1 - expected) / count)).all()
    assert drawn[values == 0].sum() == 0


def test_the_centre_is_uniform_inside_the_cell() -> None:
    values = np.zeros((4, 4), np.uint8)
    values[2, 1] = 1
    u = uniforms(1, 0, Purpose.GUIDE, 0, 5000, 3)
    centres, _ = draw_centres(cells_of([values] * 5000, np.arange(5000)), np.tile([80, 400], (5000, 1)), u, 1.0)
    assert (centres >= [40, 100]).all() and (centres < [60, 200]).all()
    np.testing.assert_allclose(centres.mean(0), [50, 150], atol=2)


def test_maps_of_many_shapes_are_drawn_as_if_alone() -> None:
    """A batch of differing maps equals one call a map, and an all-zero map says so."""
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 256, rng.integers(1, 9, 2), np.uint8) for _ in range(50)]
    maps[7][:] = 0
    sizes, u = rng.integers(1, 500, (50, 2)), rng.random((50, 3))
    centres, positive = draw_centres(cells_of(maps, np.arange(len(maps))), sizes, u, 1.0)
    for row in range(50):
        alone, sees = draw_centres(cells_of(maps, np.array([row])), sizes[row : row + 1], u[row : row + 1], 1.0)
        np.testing.assert_array_equal(centres[row], alone[0])
        assert positive[row] == sees[0] == maps[row].any()


def test_extreme_uniforms_stay_in_positive_cells() -> None:
    """0 and the largest uniform below 1 fall into the first and last positive cell, inside the image."""
    values = np.array([[0, 5, 0, 9, 0]], np.uint8)
    u = np.array([[0.0, 0.0, 0.0], [1 - 2.0**-53] * 3])
    centres, _ = draw_centres(cells_of([values] * 2, np.arange(2)), np.array([[10, 50]] * 2), u, 1.0)
    assert 10 <= centres[0, 1] < 20 and 30 <= centres[1, 1] <= 40


def test_maps_may_be_float_and_tensors() -> None:
    """As `sdali cams --maps` takes them: relative to their maximum, without what is negative."""
    exact = np.array([[0, 51, 255], [102, 0, 0]], np.uint8)
    values = np.array([[-1, 0.25, 1.25], [0.5, 0, -2]])
    tensor = torch.tensor(values, requires_grad=True)
    maps: list = [
        exact,
        values,
        values.astype(np.float16),
        torch.tensor(exact),
        tensor,
        tensor.bfloat16(),
        tensor * 1e300,
    ]
    cells = cells_of(maps, np.arange(len(maps)))
    assert cells.values.reshape(-1, 2, 3).tolist() == [exact.tolist()] * len(maps)


@pytest.mark.parametrize(
    "bad",
    [None, [[1, 2]], np.zeros((3, 3), int), np.zeros(3, np.uint8), np.zeros((0, 3), np.uint8), torch.zeros(1, 3, 3),
     np.array([["a"]])],
)  # fmt: skip
def test_what_is_no_map_is_refused(bad) -> None:
    with pytest.raises(InputError, match=r"a heatmap is uint8 or float \[h, w\], that of sample 1 is "):
        cells_of([np.ones((2, 2)), bad], np.arange(2))


def test_maps_are_finite() -> None:
    with pytest.raises(InputError, match="the heatmap of sample 0 has values that are not finite"):
        cells_of([np.array([[1.0, np.nan]])], np.arange(1))

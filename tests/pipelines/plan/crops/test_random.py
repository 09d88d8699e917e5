from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import RandomResizedCrop

from sdali.pipelines.config import Crop
from sdali.pipelines.errors import InputError
from sdali.pipelines.plan.crops import random as crop_random
from sdali.pipelines.plan.random_words import Purpose, uniforms

SIDES = st.integers(1, 5000)


def draw(crop: Crop, height: int, width: int, count: int, seed: int = 0, output: int = 224) -> np.ndarray:
    """int64 [count, 4]: windows y, x, height, width of an image."""
    sizes = np.tile([height, width], (count, 1))
    u = uniforms(seed, 0, Purpose.CROP, 0, count, crop_random.WORDS)
    windows, fallback = crop_random.window_sizes(crop, sizes, u, output)
    return np.concatenate([crop_random.corners(crop, sizes, windows, fallback, u), windows], 1)


@given(SIDES, SIDES, st.sampled_from(["scale_aspect", "scale_jitter"]), st.sampled_from(["fb", "torchvision"]),
       st.sampled_from(["valid", "clamped"]), st.integers(1, 512), st.integers(0, 1000))  # fmt: skip
def test_windows_lie_inside_the_image(height, width, kind, law, offset, output, seed) -> None:
    """Whatever the image and the options, a window has an area and stays within the image."""
    y, x, h, w = draw(Crop(kind=kind, law=law, offset=offset), height, width, 8, seed, output).T
    assert (h >= 1).all() and (w >= 1).all() and (y >= 0).all() and (x >= 0).all()
    assert (y + h <= height).all() and (x + w <= width).all()


def literal_fb(height: int, width: int, u: np.ndarray, law: str) -> tuple[int, int, int, int]:
    """fb.resnet.torch's (or torchvision's) loop, one sample at a time, on the same uniforms."""
    for attempt in range(10):
        area = (0.08 + u[attempt] * 0.92) * height * width
        if law == "torchvision":
            aspect = math.exp(math.log(3 / 4) + u[10 + attempt] * (math.log(4 / 3) - math.log(3 / 4)))
        else:
            aspect = 3 / 4 + u[10 + attempt] * (4 / 3 - 3 / 4)
        w, h = math.floor(math.sqrt(area * aspect) + 0.5), math.floor(math.sqrt(area / aspect) + 0.5)
        if 0 < h <= height and 0 < w <= width:
            return int(u[21] * (height - h + 1)), int(u[22] * (width - w + 1)), h, w
    if law == "fb":
        h = w = min(height, width)
    elif width / height < 3 / 4:
        h, w = min(height, max(1, round(width / (3 / 4)))), width
    elif width / height > 4 / 3:
        h, w = height, min(width, max(1, round(height * (4 / 3))))
    else:
        h, w = height, width
    up = law == "fb"  # fb.resnet.torch's crop of the centre takes math.ceil of half the room
    return (height - h + up) // 2, (width - w + up) // 2, h, w


@given(
    st.integers(1, 60), st.integers(1, 3), st.booleans(), st.sampled_from([(3 / 4, 4 / 3), (0.4, 2.5), (2 / 3, 1.6)])
)
def test_the_fallback_is_torchvisions(side: int, more: int, wide: bool, aspect: tuple[float, float]) -> None:
    """On images so narrow that no attempt fits, torchvision's own window is not random, and ours is the same."""
    height, width = (side, 20 * side + more) if wide else (20 * side + more, side)
    crop = Crop(law="torchvision", area=(0.9, 1.0), aspect=aspect)
    want = RandomResizedCrop.get_params(torch.empty(3, height, width), [0.9, 1.0], list(aspect))
    assert draw(crop, height, width, 1).tolist() == [list(want)]
    assert draw(replace(crop, offset="clamped"), height, width, 1).tolist() == [list(want)]


@pytest.mark.parametrize("law", ["fb", "torchvision"])
def test_scale_aspect_equals_the_literal_loop(law: str) -> None:
    """The vectorised draw equals the published loop over attempts, fallback included, on images of many shapes."""
    rng = np.random.default_rng(0)
    sizes = np.exp(rng.uniform(0, 8, (3000, 2))).astype(int)
    u = uniforms(3, 1, Purpose.CROP, 0, len(sizes), crop_random.WORDS)
    crop = Crop(law=law)  # type: ignore[arg-type]
    windows, fallback = crop_random.window_sizes(crop, sizes, u, 224)
    ours = np.concatenate([crop_random.corners(crop, sizes, windows, fallback, u), windows], 1)
    np.testing.assert_array_equal(
        ours, [literal_fb(h, w, row, law) for (h, w), row in zip(sizes.tolist(), u, strict=True)]
    )
    assert 0.1 < fallback.mean() < 0.9


def test_area_and_aspect_have_the_stated_law() -> None:
    """On an image where few attempts fail, area is U(0.08, 0.5) and aspect U(3/4, 4/3) (Kolmogorov, 20,000 draws)."""
    windows = draw(Crop(area=(0.08, 0.5)), 4000, 4000, 20_000)
    area, aspect = windows[:, 2] * windows[:, 3] / 4000**2, windows[:, 3] / windows[:, 2]
    for values, low, high in ((area, 0.08, 0.5), (aspect, 3 / 4, 4 / 3)):
        gap = np.abs(np.sort((values - low) / (high - low)) - np.linspace(0, 1, len(values))).max()
        assert gap < 1.95 / np.sqrt(len(values)) + 0.001  # the second term: whole pixels


def test_clamped_centres_sit_on_borders() -> None:
    """The named alternative leaves most windows flush with a border; the default only by chance."""

    def flush(windows: np.ndarray) -> float:
        y, x, h, w = windows.T
        return float(((y == 0) | (x == 0) | (y + h == 400) | (x + w == 400)).mean())

    assert flush(draw(Crop(offset="clamped"), 400, 400, 5000)) > 0.7
    assert flush(draw(Crop(), 400, 400, 5000)) < 0.1


def test_scale_jitter_is_a_square_share_of_the_shorter_side() -> None:
    """A 224 crop after a resize to S in [256, 480] is a square of 224 / S of the shorter side."""
    side = draw(Crop(kind="scale_jitter"), 1000, 1500, 20_000)
    assert (side[:, 2] == side[:, 3]).all()
    expected = {math.floor(224 * 1000 / s + 0.5) for s in range(256, 481)}
    assert set(side[:, 2].tolist()) == expected


def test_a_sliver_gives_a_tiny_window() -> None:
    """A 1 x 4000 image yields 1 x 1 windows: nothing is ever resized beyond the output."""
    for kind in ("scale_aspect", "scale_jitter"):
        assert (draw(Crop(kind=kind), 1, 4000, 50)[:, 2:] == 1).all()  # type: ignore[arg-type]


@given(SIDES, SIDES, st.data())
def test_around_centres_or_clamps(height: int, width: int, data) -> None:
    """The window is centred to the half pixel where it fits there, else flush with the border it would cross."""
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    centre = np.array([[data.draw(st.floats(0, height)), data.draw(st.floats(0, width))]])
    ((top, left),) = crop_random.around(np.array([[height, width]]), np.array([[h, w]]), centre)
    for corner, length, side, at in ((top, h, height, centre[0, 0]), (left, w, width, centre[0, 1])):
        assert 0 <= corner <= side - length
        free = at - length / 2
        assert abs(corner - free) <= 0.5 or corner in (0, side - length)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"area": (0.5, 0.1)}, "area"), ({"area": (0, 1)}, "area"), ({"aspect": (-1, 1)}, "aspect"),
     ({"shorter_side": (480, 256)}, "shorter_side"), ({"gamma": 0}, "gamma"), ({"p_sda": 1.5}, "p_sda")],
)  # fmt: skip
def test_bad_options_are_named(options: dict, name: str) -> None:
    with pytest.raises(InputError, match=f"crop {name}"):
        Crop(**options)

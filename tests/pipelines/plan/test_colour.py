from __future__ import annotations

from itertools import permutations

import numpy as np
import reference
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.config import Colour
from sdali.pipelines.graph.kernels.window import window_to_planes
from sdali.pipelines.plan import colour
from sdali.pipelines.plan.random_words import Purpose, uniforms
from sdali.pipelines.store.statistics import IMAGENET

FACTORS = st.tuples(*[st.floats(0, 2)] * 3)
LIGHTING = st.tuples(*[st.floats(-0.5, 0.5)] * 3)


def through_kernel(image: np.ndarray, matrix: np.ndarray, flip: bool = False) -> np.ndarray:
    """float32 [H, W, 3]: a square image through the CPU kernel at its own size, where nearest changes nothing."""
    columns = np.arange(len(image), dtype=np.int32)
    out = np.empty((3, *image.shape[:2]), np.float32)
    window_to_planes(out, columns[::-1].copy() if flip else columns, image, matrix, 0)
    return out.transpose(1, 2, 0)


def image_of(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(0, 999), st.integers(1, 60), FACTORS, LIGHTING, st.booleans(),
       st.permutations(["brightness", "contrast", "saturation"]))  # fmt: skip
def test_the_kernel_equals_the_step_by_step_definition(seed, side, factors, lighting, flip, steps) -> None:
    """One matrix = ColorJitter in any order, lighting and normalisation: within 1e-5 on the [0, 1] scale."""
    image = image_of(seed, side, side)
    matrix = colour.matrices(np.array([factors]), np.array([lighting]), IMAGENET)[0]
    expected = reference.jitter(image / 255, np.array(factors), steps) + IMAGENET.lighting @ lighting
    shown = through_kernel(image, matrix, flip) * IMAGENET.std + IMAGENET.mean
    np.testing.assert_allclose(shown, expected[:, ::-1] if flip else expected, atol=1e-5)


def test_the_three_steps_commute() -> None:
    """All six orders of fb.resnet.torch's jitter agree to 1e-14 in float64, unclamped."""
    image, factors = image_of(0, 30, 20) / 255, np.array([1.4, 0.6, 0.8])
    results = [
        reference.jitter(image, factors, steps) for steps in permutations(("brightness", "contrast", "saturation"))
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=1e-14)


def test_no_jitter_is_plain_normalisation() -> None:
    matrix = colour.matrices(np.ones((1, 3)), np.zeros((1, 3)), IMAGENET)[0]
    image = image_of(1, 8, 8)
    np.testing.assert_allclose(through_kernel(image, matrix), (image / 255 - IMAGENET.mean) / IMAGENET.std, atol=1e-5)


def test_draws_have_the_stated_ranges() -> None:
    """Factors are uniform in 1 +- strength, lighting coefficients N(0, strength), zero where switched off."""
    u = uniforms(0, 0, Purpose.APPEARANCE, 0, 50_000, colour.WORDS)
    factors, lighting = colour.draw(Colour(brightness=0.4, contrast=0.2, saturation=0.0, lighting=0.1), u)
    np.testing.assert_allclose(factors.min(0), [0.6, 0.8, 1.0], atol=1e-3)
    np.testing.assert_allclose(factors.max(0), [1.4, 1.2, 1.0], atol=1e-3)
    np.testing.assert_allclose(lighting.std(0), 0.1, rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(lighting.T), np.eye(3), atol=0.02)


def test_lighting_moves_pixels_along_the_eigenvectors() -> None:
    """Coefficient a on component j shifts every pixel by a * l_j * v_j on [0, 1] (Krizhevsky et al., NIPS 2012)."""
    plain, lit = colour.matrices(np.ones((2, 3)), np.array([[0, 0, 0], [0, 0.3, 0]]), IMAGENET)
    shift = (lit - plain)[:, 4] * IMAGENET.std
    np.testing.assert_allclose(shift, 0.3 * 0.0188 * IMAGENET.eigenvectors[:, 1], atol=1e-6)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.plan.random_words import Purpose, normals, raw_words, uniforms


@given(
    st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.integers(0, 10**9), st.integers(1, 30), st.integers(1, 37),
    st.data(),
)  # fmt: skip
def test_words_do_not_depend_on_the_split(seed, epoch, start, count, words, data) -> None:
    """Any split of a run of positions gives the same words."""
    whole = raw_words(seed, epoch, Purpose.CROP, start, count, words)
    cut = data.draw(st.integers(0, count))
    parts = [
        raw_words(seed, epoch, Purpose.CROP, start, cut, words),
        raw_words(seed, epoch, Purpose.CROP, start + cut, count - cut, words),
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_words_are_those_of_the_generator() -> None:
    """Block by block the words are NumPy's Philox at that counter: pinned, so that old runs can be repeated."""
    words = raw_words(7, 3, Purpose.CROP, 5, 2, 6, attempt=1)
    philox = np.random.Philox(key=[7, 3 * 256 + 1], counter=[10, 1, 0, 0])
    np.testing.assert_array_equal(words, philox.random_raw(16).reshape(2, 8)[:, :6])


def test_streams_differ() -> None:
    """Another seed, epoch, purpose, position or attempt gives other words."""
    cases = [(0, 0, Purpose.CROP, 0, 0), (1, 0, Purpose.CROP, 0, 0), (0, 1, Purpose.CROP, 0, 0)]
    cases += [(0, 0, Purpose.GUIDE, 0, 0), (0, 0, Purpose.CROP, 1, 0), (0, 0, Purpose.CROP, 0, 1)]
    firsts = {int(raw_words(seed, epoch, what, at, 1, 1, attempt)[0, 0]) for seed, epoch, what, at, attempt in cases}
    assert len(firsts) == len(cases)


def test_uniforms_and_normals_have_their_moments() -> None:
    """Mean and variance of 200,000 draws are those of U(0, 1) and N(0, 1) within five standard errors."""
    u = uniforms(1, 0, Purpose.APPEARANCE, 0, 100_000, 2)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 5 * np.sqrt(1 / 12 / u.size)
    z = normals(u)
    assert abs(z.mean()) < 5 / np.sqrt(z.size) and abs(z.var() - 1) < 5 * np.sqrt(2 / z.size)
    assert abs(np.corrcoef(z.T)[0, 1]) < 5 / np.sqrt(len(z))


def test_normals_are_finite_at_the_ends() -> None:
    assert np.isfinite(normals(np.array([0.0, 0.0, 1 - 2.0**-53, 1 - 2.0**-53]))).all()


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**56)])
def test_a_key_that_does_not_fit_is_refused(seed: int, epoch: int) -> None:
    with pytest.raises(InputError, match=r"must be within \[0, 2\^"):
        raw_words(seed, epoch, Purpose.ORDER, 0, 1)

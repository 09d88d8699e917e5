from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sdali.pipelines.errors import InputError
from sdali.pipelines.loader.soft_labels import SoftLabels, load_confusion, save_confusion

# Six classes; row 0 by hand: 0.20 to class 2, 0.10 to 1, 0.06 to 4, 0.04 to 3, nothing to 5.
CONFUSION = np.array(
    [
        [0.60, 0.10, 0.20, 0.04, 0.06, 0.00],
        [0.00, 1.00, 0.00, 0.00, 0.00, 0.00],
        [0.30, 0.00, 0.70, 0.00, 0.00, 0.00],
        [0.02, 0.03, 0.05, 0.80, 0.04, 0.06],
        [0.00, 0.00, 0.00, 0.50, 0.50, 0.00],
        [0.05, 0.05, 0.05, 0.05, 0.05, 0.75],
    ]
)


def test_the_hand_made_matrix_gives_the_result_on_paper() -> None:
    targets = SoftLabels(eps=0.1).targets(CONFUSION)
    np.testing.assert_allclose(targets[0], [0.9, 0.025, 0.05, 0.01, 0.015, 0], atol=1e-7)
    # Row 1 is confused with nothing: the four places go to the five others alike.
    np.testing.assert_allclose(targets[1], [0.02, 0.9, 0.02, 0.02, 0.02, 0.02], atol=1e-7)
    # Row 2 with one class: a quarter to it, three quarters to the four that are left.
    np.testing.assert_allclose(targets[2], [0.025, 0.01875, 0.9, 0.01875, 0.01875, 0.01875], atol=1e-7)
    # Row 3: the four largest of five are 6, 5, 4 and 3 of 18.
    np.testing.assert_allclose(targets[3], [0, 0.3 / 18, 0.5 / 18, 0.9, 0.4 / 18, 0.6 / 18], atol=1e-7)
    uniform = SoftLabels(eps=0.2, top=2, weights="uniform").targets(CONFUSION)
    np.testing.assert_allclose(uniform[0], [0.8, 0.1, 0.1, 0, 0, 0], atol=1e-7)


def test_symmetric_counts_confusion_both_ways() -> None:
    """Class 4 is taken for 3 (0.50), 3 for 4 (0.04): symmetrised, 3's first neighbour is 4."""
    targets = SoftLabels(top=1, symmetric=True).targets(CONFUSION)
    np.testing.assert_allclose(targets[3], [0, 0, 0, 0.9, 0.1, 0], atol=1e-7)


@given(
    st.integers(2, 9).flatmap(lambda k: arrays(np.float64, (k, k), elements=st.floats(0, 1))),
    st.floats(0, 0.49),
    st.integers(1, 12),
    st.sampled_from(["proportional", "uniform"]),
    st.booleans(),
)
def test_rows_sum_to_one_and_the_label_stays_the_likeliest(matrix, eps, top, weights, symmetric) -> None:
    targets = SoftLabels(eps=eps, top=top, weights=weights, symmetric=symmetric).targets(matrix)
    assert targets.dtype == np.float32 and (targets >= 0).all()
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(targets.argmax(1), np.arange(len(matrix)))
    np.testing.assert_allclose(targets.diagonal(), 1 - eps, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"eps": 1.5}, r"eps must be within \[0, 1\], got 1.5"),
        ({"eps": float("nan")}, "eps must be within"),
        ({"top": 0}, "top must be at least 1 and whole, got 0"),
        ({"weights": "even"}, "weights must be one of proportional, uniform, got 'even'"),
    ],
)
def test_bad_options_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        SoftLabels(**options)


@pytest.mark.parametrize("matrix", [np.ones((2, 3)), np.ones((1, 1)), np.ones(3), -np.eye(3), np.full((2, 2), np.nan)])
def test_what_is_no_confusion_matrix_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="a confusion matrix"):
        SoftLabels().targets(matrix)


def test_an_eps_that_would_change_the_label_is_refused() -> None:
    with pytest.raises(InputError, match=r"with eps 0\.9 another class would be as likely as the label"):
        SoftLabels(eps=0.9, top=1).targets(CONFUSION)


def test_a_confusion_file_comes_back(tmp_path: Path) -> None:
    names = [f"class é {k}" for k in range(6)]
    save_confusion(tmp_path / "c.h5", CONFUSION, np.arange(6), names, store="abc")
    matrix, classes = load_confusion(tmp_path / "c.h5")
    np.testing.assert_array_equal(matrix, CONFUSION)
    assert classes == tuple(names) and [file.name for file in tmp_path.iterdir()] == ["c.h5"]


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file.attrs["format"] = "sdali confusion"
        file["mean_softmax"] = CONFUSION
    save_confusion(tmp_path / "linked.h5", CONFUSION, np.arange(6), list("abcdef"))
    with h5py.File(tmp_path / "linked.h5", "r+") as file:
        del file["mean_softmax"]
        file["mean_softmax"] = h5py.ExternalLink("half.h5", "mean_softmax")
    save_confusion(tmp_path / "short.h5", CONFUSION[:5], np.arange(6), list("abcdef"))
    for name, sentence in (
        ("none.h5", "does not exist"),
        ("text.h5", "no legible HDF5"),
        ("other.h5", "is no confusion file"),
        ("half.h5", "has no dataset classes of its own"),
        ("linked.h5", "has no dataset mean_softmax of its own"),
        ("short.h5", r"has 6 classes and a matrix of \[5, 6\]"),
    ):
        with pytest.raises(InputError, match=f"{name}.*{sentence}.*; make it with sdali confusion"):
            load_confusion(tmp_path / name)
    with pytest.raises(InputError, match="cannot write"):
        save_confusion(tmp_path / "none" / "c.h5", CONFUSION, np.arange(6), list("abcdef"))

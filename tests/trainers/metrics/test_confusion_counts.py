"""Confusion counts against argmax in NumPy, against Accuracy, and against every way of splitting the images."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.metrics.classification import Accuracy, ConfusionCounts

NAN, INF = torch.nan, torch.inf


def scores(seed: int, count: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with many ties, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-2, 3, (count, classes)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(rng.integers(0, classes, count))


@given(st.integers(0, 10_000), st.integers(0, 40), st.integers(2, 9))
def test_equals_argmax(seed: int, count: int, classes: int) -> None:
    """Each image counts once, in the row of its label and the column of the first highest score."""
    logits, labels = scores(seed, count, classes)
    expected = np.zeros((classes, classes), np.int64)
    np.add.at(expected, (labels.numpy(), logits.numpy().argmax(1)), 1)
    found = ConfusionCounts.of(logits, labels).compute()
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_any_split_gives_the_same_counts(seed: int, sizes: list[int]) -> None:
    """Batches of any sizes, empty ones too, merged in any order, count what one batch counts."""
    logits, labels = scores(seed, sum(sizes) + 1, 5)
    parts = zip(logits.split([*sizes, 1]), labels.split([*sizes, 1]), strict=True)
    merged = ConfusionCounts.empty(5)
    for part in reversed([ConfusionCounts.of(*part) for part in parts]):
        merged = merged.merge(part)
    assert torch.equal(merged.totals, ConfusionCounts.of(logits, labels).totals)


@given(st.lists(st.lists(st.sampled_from([NAN, INF, -INF, 0.0, 1.0]), min_size=3, max_size=3), max_size=12))
def test_the_diagonal_is_what_accuracy_counts_as_right(rows: list[list[float]]) -> None:
    """Also of a diverged model, which is never right by luck; every image stays counted."""
    logits = torch.tensor(rows).reshape(-1, 3)
    labels = torch.arange(len(rows)) % 3
    counts, right = ConfusionCounts.of(logits, labels).totals, Accuracy.of(logits, labels).totals
    assert torch.equal(counts.diagonal(), right[:, 1]) and torch.equal(counts.sum(1), right[:, 0])


def test_without_a_score_another_class_is_predicted() -> None:
    """By hand: what is no number counts as highest, but never as the label."""
    logits = torch.tensor([[NAN, NAN, NAN], [0, NAN, 1], [NAN, 1, 0]])
    found = ConfusionCounts.of(logits, torch.tensor([0, 0, 0])).compute()
    assert found.tolist() == [[0, 3, 0], [0, 0, 0], [0, 0, 0]]

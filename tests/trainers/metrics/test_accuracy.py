"""Accuracy against brute force in NumPy, and against every way of splitting the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.metrics.classification import Accuracy, rank_of_label


def scores(seed: int, count: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits with many ties, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.integers(-3, 4, (count, classes)).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(rng.integers(0, classes, count))


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 12))
def test_equals_a_stable_sort(seed: int, count: int, classes: int) -> None:
    """Top-k: the label is among the first k of a stable descending sort; the loss is float64 cross-entropy."""
    logits, labels = scores(seed, count, classes)
    order = np.argsort(-logits.numpy(), axis=1, kind="stable")
    place = np.array([row.tolist().index(label) for row, label in zip(order, labels.tolist(), strict=True)])
    result = Accuracy.of(logits, labels).compute()
    assert result["top1"] == (place < 1).mean()
    assert result.get("top5") == ((place < 5).mean() if classes > 5 else None)
    exact = logits.double().numpy()
    loss = np.log(np.exp(exact).sum(1)) - exact[np.arange(count), labels]
    assert result["loss"] == pytest.approx(loss.mean(), rel=1e-9)
    assert result["images"] == count


@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_any_split_gives_the_same_counts(seed: int, sizes: list[int]) -> None:
    """Batches of any sizes, empty ones too, merged in any order, count what one batch counts."""
    logits, labels = scores(seed, sum(sizes) + 1, 7)
    whole = Accuracy.of(logits, labels).totals
    parts = zip(logits.split([*sizes, 1]), labels.split([*sizes, 1]), strict=True)
    merged = Accuracy.empty(7)
    for part in reversed([Accuracy.of(*part) for part in parts]):
        merged = merged.merge(part)
    assert torch.equal(merged.totals[:, :3], whole[:, :3])
    torch.testing.assert_close(merged.totals[:, 3], whole[:, 3], rtol=1e-12, atol=1e-12)


def test_per_class_and_classes_without_images() -> None:
    """A class that never occurs has no accuracy, rather than 0 or 1; no images at all have none either."""
    logits = torch.tensor([[2.0, 1, 0], [2, 1, 0], [2, 1, 0]])
    assert Accuracy.of(logits, torch.tensor([0, 0, 1])).compute()["per_class"] == [1.0, 0.0, None]
    assert Accuracy.empty(3).compute() == {"top1": None, "loss": None, "images": 0, "per_class": [None] * 3}


def test_a_diverged_model_is_never_right() -> None:
    """Scores that are not numbers count as above the label's, and a label without a score comes last."""
    nan = torch.nan
    logits = torch.tensor([[nan, nan, nan], [nan, 1, 0], [0, nan, 1], [1, nan, 0]])
    assert rank_of_label(logits, torch.tensor([0, 1, 1, 0])).tolist() == [3, 1, 3, 1]


def test_a_constant_model_is_right_for_one_class_only() -> None:
    """Equal scores predict the first class, as argmax does, not all of them."""
    assert Accuracy.of(torch.zeros(4, 4), torch.arange(4)).compute()["per_class"] == [1.0, 0.0, 0.0, 0.0]


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 12))
def test_probabilities_count_as_their_logits(seed: int, count: int, classes: int) -> None:
    """Of a softmax everything is as of its logits; the ties of the logits are ties of the softmax."""
    logits, labels = scores(seed, count, classes)
    found = Accuracy.of_probabilities(logits.double().softmax(1), labels).totals
    whole = Accuracy.of(logits, labels).totals
    assert torch.equal(found[:, :3], whole[:, :3])
    torch.testing.assert_close(found[:, 3], whole[:, 3])


def test_an_underflown_probability_has_a_finite_loss() -> None:
    """0 costs as much as the smallest normal float32."""
    result = Accuracy.of_probabilities(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).compute()
    assert result["top1"] == 0 and result["loss"] == pytest.approx(126 * np.log(2))

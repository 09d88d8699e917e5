"""Calibration against a count in NumPy, image by image, and against every way of splitting the images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.metrics.classification import BINS, Calibration


def predictions(seed: int, count: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities of 1/60 steps, so that many lie on an edge of a bin and many are equal; and labels."""
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, 61, (count, classes - 1)), axis=1)
    shares = np.diff(cuts, axis=1, prepend=0, append=60)
    return torch.from_numpy(shares / 60), torch.from_numpy(rng.integers(0, classes, count))


@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(2, 9))
def test_equals_a_count_by_hand(seed: int, count: int, classes: int) -> None:
    """The bin is found in whole numbers, of 60ths; the error is the weighted mean of the bins' gaps."""
    probabilities, labels = predictions(seed, count, classes)
    bins: list[list[tuple[bool, float]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities.numpy(), labels.tolist(), strict=True):
        sixtieths = round(row.max() * 60)
        place = next(b for b in range(15) if sixtieths <= 4 * (b + 1))
        bins[place].append((int(np.argmax(row)) == label, row.max()))
    metric = Calibration.of(probabilities, labels)
    assert metric.totals[:, 0].tolist() == [len(inside) for inside in bins]
    error = 0.0
    for (images, right, sure), inside in zip(metric.totals.tolist(), bins, strict=True):
        if inside:
            accuracy, confidence = np.mean(inside, axis=0)
            assert (right / images, sure / images) == pytest.approx((accuracy, confidence))
            error += len(inside) / count * abs(accuracy - confidence)
    assert metric.compute() == pytest.approx(error, abs=1e-12)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_any_split_gives_the_same_bins(seed: int, sizes: list[int]) -> None:
    """Batches of any sizes, empty ones too, merged in any order, count what one batch counts."""
    probabilities, labels = predictions(seed, sum(sizes) + 1, 4)
    whole = Calibration.of(probabilities, labels).totals
    parts = zip(probabilities.split([*sizes, 1]), labels.split([*sizes, 1]), strict=True)
    merged = Calibration.empty(BINS)
    for part in reversed([Calibration.of(*part) for part in parts]):
        merged = merged.merge(part)
    assert torch.equal(merged.totals[:, :2], whole[:, :2])
    torch.testing.assert_close(merged.totals[:, 2], whole[:, 2], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("confidence", "place"),
    [(0.0, 0), (1 / 15, 0), (np.nextafter(1 / 15, 1), 1), (14 / 15, 13), (1.0, 14), (1 + 1e-7, 14)],
)
def test_bins_are_closed_on_the_right(confidence: float, place: int) -> None:
    """An edge belongs to the bin below it, 0 to the first, and a rounded 1 to the last."""
    probabilities = torch.tensor([[confidence, 0.0]], dtype=torch.float64)
    bins = Calibration.of(probabilities, torch.tensor([0])).totals
    assert bins[:, 0].tolist() == [int(b == place) for b in range(15)]


def test_always_sure_and_right_half_the_time() -> None:
    """By hand: confidence 1, accuracy 1/2, so the error is 1/2; no images have none."""
    assert Calibration.of(torch.eye(2)[[0, 0, 1, 1]], torch.tensor([0, 1, 1, 0])).compute() == 0.5
    assert Calibration.empty(BINS).compute() is None

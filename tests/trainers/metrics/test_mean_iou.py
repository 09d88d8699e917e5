"""Mean IoU and pixel accuracy against a count over all pixels in NumPy, on real masks and on random ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sdali.trainers.metrics.mean_iou import MeanIou


def counted(predictions: np.ndarray, masks: np.ndarray, classes: int) -> dict[str, object]:
    """By the definition: sets of pixels of each class, over everything at once."""
    kept = masks < classes
    ious = []
    for k in range(classes):
        true, predicted = kept & (masks == k), kept & (predictions == k)
        union = (true | predicted).sum()
        ious.append((true & predicted).sum() / union if union else 0.0)
    accuracy = (predictions == masks)[kept].mean()
    score = (np.mean(ious) + accuracy) / 2
    found = {"score": score, "per_class": ious, "mean_iou": np.mean(ious), "pixel_accuracy": accuracy}
    return {**found, "pixels": kept.sum()}


def of_batches(predictions: np.ndarray, masks: np.ndarray, classes: int, batch: int) -> dict[str, object]:
    metric = MeanIou.empty(classes)
    for start in range(0, len(masks), batch):
        part = slice(start, start + batch)
        p, m = (torch.from_numpy(values[part].astype(np.int64)) for values in (predictions, masks))
        metric = metric.merge(MeanIou.of(p, m, classes=classes))
    return metric.compute()


def rounded(found: dict[str, object]) -> dict[str, object]:
    return {name: pytest.approx(value, abs=1e-12) for name, value in found.items()}


def test_equals_an_independent_count_on_real_masks(real_data: Path) -> None:
    """CamVid's masks against other images' masks as predictions, their ignored pixels taken as road."""
    paths = sorted((real_data / "camvid/valannot").glob("*.png"))[:24]
    masks = np.stack([np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in paths])
    predictions = np.roll(masks, 1, 0)
    predictions = np.where(predictions == 11, 3, predictions)
    assert (masks == 11).any()
    expected = rounded(counted(predictions, masks, 11))
    for batch in (1, 7, 24):
        assert of_batches(predictions, masks, 11, batch) == expected


@pytest.mark.parametrize("classes", [1, 2, 150])
def test_equals_an_independent_count_on_random_masks(classes: int) -> None:
    """Classes that never occur count 0 in the mean; ignore values of every kind are left out."""
    rng = np.random.default_rng(classes)
    masks = rng.choice([*range(max(classes // 2, 1)), classes, 255], (5, 9, 13))
    predictions = rng.integers(0, classes, masks.shape)
    assert of_batches(predictions, masks, classes, 2) == rounded(counted(predictions, masks, classes))


def test_nothing_to_count() -> None:
    """All pixels ignored, or no image at all: zeros, nothing is divided by 0."""
    ignored = torch.full((2, 4, 4), 255)
    for metric in (MeanIou.of(torch.zeros_like(ignored), ignored, classes=3), MeanIou.empty(3)):
        found = metric.compute()
        assert (found["score"], found["pixels"], found["per_class"]) == (0.0, 0, [0.0, 0.0, 0.0])
    masks = torch.tensor([[0, 1], [1, 255]])
    assert MeanIou.of(masks.clamp(max=1), masks, classes=2).compute()["score"] == 1.0

"""Recall of proposals against a greedy match in plain Python."""

from __future__ import annotations

import pytest
import torch
from detecting import Images, images, record
from hypothesis import given, settings
from hypothesis import strategies as st

from sdali.trainers.metrics.coco_ap import proposal_recall
from sdali.trainers.metrics.detections import DetectionRecord, Detections, GroundTruth


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def recall(some: Images, threshold: float, limit: int) -> float | None:
    """One proposal after another, by falling score, takes the best object that is left."""
    found = total = 0
    for _, proposals, objects in some:
        left = objects.boxes[~objects.difficult].tolist()
        total += len(left)
        order = proposals.scores.argsort(descending=True, stable=True)[:limit]
        for box in proposals.boxes[order].tolist():
            overlaps = [overlap(box, one) for one in left]
            if overlaps and max(overlaps) >= threshold:
                left.pop(overlaps.index(max(overlaps)))
                found += 1
    return found / total if total else None


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(0, 8), st.sampled_from([1, 3, 300]))
def test_equals_a_greedy_match(seed: int, count: int, limit: int) -> None:
    """At both overlaps and on average; classes do not matter, difficult objects are not asked for."""
    some = images(seed, count, classes=4)
    result = proposal_recall(record(some), limit)
    by_threshold = [recall(some, 0.5 + 0.05 * step, limit) for step in range(10)]
    if by_threshold[0] is None:
        assert result == {"recall50": None, "recall70": None, "ar": None}
        return
    assert result["recall50"] == pytest.approx(by_threshold[0])
    assert result["recall70"] == pytest.approx(by_threshold[4])
    assert result["ar"] == pytest.approx(sum(value or 0 for value in by_threshold) / 10)


def test_three_hundred_of_an_image_count() -> None:
    """By hand: two objects; the proposal of one is the 300th by score, that of the other the 301st."""
    boxes = torch.tensor([[0.0, 0, 1, 1]]).repeat(301, 1)
    boxes[299], boxes[300] = torch.tensor([10.0, 10, 20, 20]), torch.tensor([30.0, 30, 40, 40])
    proposals = Detections(boxes, torch.linspace(1, 0, 301), torch.zeros(301, dtype=torch.int64))
    objects = GroundTruth(boxes[299:], torch.tensor([0, 7]), torch.tensor([False, False]))
    found = DetectionRecord.of([4], [proposals], [objects])
    assert proposal_recall(found) == {"recall50": 0.5, "recall70": 0.5, "ar": 0.5}
    assert proposal_recall(found, 301)["ar"] == 1

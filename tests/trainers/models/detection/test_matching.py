"""Matching boxes against torchvision's Matcher, and where that goes wrong."""

from __future__ import annotations

import pytest
import torch
from detectors import random_boxes
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from sdali.trainers.models.detection.sampling import match, proper


@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_matches_are_torchvisions(seed: int, low_quality: bool) -> None:
    """-1 and -2 of its Matcher are our negatives and ignored."""
    torch.manual_seed(seed)
    boxes = random_boxes(7)
    candidates = torch.cat([random_boxes(300), boxes[:2] + 1.5])
    reference = Matcher(0.7, 0.3, allow_low_quality_matches=low_quality)(box_iou(boxes, candidates))
    labels, matched = match(candidates, boxes, high=0.7, low=0.3, low_quality=low_quality)
    assert set(labels.tolist()) == {-1, 0, 1}
    assert torch.equal(labels, torch.where(reference >= 0, 1, torch.where(reference == -1, 0, -1)))
    assert torch.equal(matched[labels == 1], reference[reference >= 0])


def test_a_box_that_overlaps_nothing_makes_nothing_positive() -> None:
    """With torchvision's Matcher every candidate is, since all are equally bad."""
    candidates, boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30]]), torch.tensor([[50.0, 50, 60, 60]])
    reference = Matcher(0.7, 0.3, allow_low_quality_matches=True)(box_iou(boxes, candidates))
    assert reference.tolist() == [0, 0]
    assert match(candidates, boxes, high=0.7, low=0.3, low_quality=True)[0].tolist() == [0, 0]


def test_without_boxes_all_are_negative() -> None:
    assert match(torch.rand(3, 4), torch.zeros(0, 4), high=0.7, low=0.3)[0].tolist() == [0, 0, 0]
    assert match(torch.zeros(0, 4), torch.ones(1, 4), high=0.7, low=0.3, low_quality=True)[0].tolist() == []


def test_proper_boxes() -> None:
    nan, inf = float("nan"), float("inf")
    boxes = [[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 1, 0], [2, 0, 1, 1], [0, 0, nan, 1], [0, 0, inf, 1]]
    assert proper(torch.tensor(boxes)).tolist() == [True, False, False, False, False, False]

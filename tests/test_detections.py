"""From scored regions to detections, against torchvision's and by hand."""

from __future__ import annotations

import torch
from detectors import random_boxes
from pytest import approx
from torch import nn
from torchvision.models.detection.roi_heads import RoIHeads

from sdali.trainers.models.detections import detections
from sdali.trainers.models.detector import Regions


def test_detections_are_torchvisions() -> None:
    """From the same logits and codes; boxes are clipped to the image, and there are more than the limit."""
    torch.manual_seed(0)
    heads = RoIHeads(nn.Identity(), nn.Identity(), nn.Identity(), 0.5, 0.5, 16, 0.25, None, 0.1, 0.4, 25)
    logits, codes, proposals = torch.randn(60, 4), torch.randn(60, 16), random_boxes(60)
    boxes, scores, labels = heads.postprocess_detections(logits, codes, [proposals], [(80, 100)])
    regions = Regions(logits.softmax(1).roll(-1, 1), heads.box_coder.decode(codes, [proposals])[:, 1:])
    found = detections(regions, (80, 100), score_threshold=0.1, nms_threshold=0.4, limit=25)
    assert len(boxes[0]) == 25
    for ours, theirs in zip(found, (boxes[0], scores[0], labels[0] - 1), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_by_hand() -> None:
    """NMS is within a class; the background, weak scores and boxes outside of the image are no detections."""
    box, near, outside = [0.0, 0, 10, 10], [0.0, 1, 10, 11], [120.0, 0, 140, 10]
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.04, 0.46], [0.0, 0.1, 0.9]])
    boxes = torch.tensor([[box, box], [near, near], [box, outside]])
    found = detections(Regions(scores, boxes), (50, 100))
    assert [part.tolist() for part in found] == [[box, box], [approx(0.6), approx(0.3)], [0, 1]]
    assert [len(part) for part in detections(Regions(scores, boxes), (50, 100), limit=1)] == [1, 1, 1]
    assert len(detections(Regions(scores, boxes), (50, 100), nms_threshold=0.9)[0]) == 3


def test_no_regions() -> None:
    boxes, scores, labels = detections(Regions(torch.zeros(0, 4), torch.zeros(0, 3, 4)), (50, 100))
    assert boxes.shape == (0, 4) and scores.shape == labels.shape == (0,)

"""Fusion and the making of detections: against loops in plain Python, by hand, and whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detecting import boxes as random_boxes
from detectors import random_boxes as regions_in_image
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models.detection.roi_heads import RoIHeads

from sdali.trainers.detection.fusion import averaged, final_detections, fused_proposals
from sdali.trainers.metrics.detections import Detections

NAN, INF = torch.nan, torch.inf
Row = tuple[float, list[float]]


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def suppressed(rows: list[Row], threshold: float) -> list[Row]:
    """Greedily: the best that is left goes on, what overlaps it by more goes; equal scores by their boxes."""
    left, kept = sorted(rows, key=lambda row: (-row[0], row[1])), []
    while left:
        kept.append(left.pop(0))
        left = [row for row in left if overlap(row[1], kept[-1][1]) <= threshold]
    return kept


def proposals(rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Boxes, and scores with many ties."""
    scores = rng.integers(0, 6, count) / 8
    return torch.from_numpy(random_boxes(rng, count)).float(), torch.from_numpy(scores).float()


@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=1, max_size=4), st.sampled_from([0.3, 0.7]))
def test_proposals_of_all_views_compete(seed: int, counts: list[int], threshold: float) -> None:
    """As one list, whatever the order of views, with tied scores and empty views."""
    rng = np.random.default_rng(seed)
    views = [proposals(rng, count) for count in counts]
    rows = [(score, box) for boxes, scores in views for score, box in zip(scores.tolist(), boxes.tolist(), strict=True)]
    boxes, scores = fused_proposals(views, nms_threshold=threshold, limit=7)
    assert list(zip(scores.tolist(), boxes.tolist(), strict=True)) == suppressed(rows, threshold)[:7]
    again = fused_proposals(views[::-1], nms_threshold=threshold, limit=7)
    assert torch.equal(boxes, again[0]) and torch.equal(scores, again[1])


def test_proposals_of_no_use_are_left_out() -> None:
    """No number, infinite, without area: of them none is passed on, and none suppresses another."""
    bad = torch.tensor([[NAN, 0, 9, 9], [0, 0, INF, 9], [5, 5, 5, 9], [9, 9, 5, 5], [0, 0, 9, 9]])
    good = torch.tensor([[0.0, 0, 9, 9]])
    scores = torch.tensor([1, 1, 1, 1, NAN])
    boxes, kept = fused_proposals([(bad, scores), (good, torch.tensor([0.1]))])
    assert boxes.tolist() == good.tolist() and kept.tolist() == pytest.approx([0.1])
    assert fused_proposals([(bad, scores)])[0].shape == (0, 4)


def test_scores_and_boxes_are_averaged_by_proposal() -> None:
    """By hand: two views of two proposals of one class; the order of views does not matter."""
    one = torch.tensor([[0.8, 0.2], [0.5, 0.5]]), torch.tensor([[[0.0, 0, 4, 4]], [[1, 1, 2, 2]]])
    two = torch.tensor([[0.4, 0.6], [0.1, 0.9]]), torch.tensor([[[0.0, 2, 4, 8]], [[1, 1, 4, 2]]])
    softmax, boxes = averaged([one, two])
    torch.testing.assert_close(softmax, torch.tensor([[0.6, 0.4], [0.3, 0.7]]))
    assert boxes.tolist() == [[[0, 1, 4, 6]], [[1, 1, 3, 2]]]
    assert softmax.dtype == boxes.dtype == torch.float32
    for part, own in zip(averaged([two, one]), (softmax, boxes), strict=True):
        assert torch.equal(part, own)
    assert all(torch.equal(part, own) for part, own in zip(averaged([one]), one, strict=True))
    assert [part.shape for part in averaged([(torch.zeros(0, 3), torch.zeros(0, 2, 4))] * 2)] == [(0, 3), (0, 2, 4)]


def heads(rng: np.random.Generator, count: int, classes: int) -> tuple[Tensor, Tensor]:
    """Softmax [R, C + 1] of few different values, and boxes [R, C, 4], some of them beyond the image of 90 x 80 px."""
    softmax = torch.from_numpy(rng.integers(-1, 2, (count, classes + 1)) * 1.0).softmax(1).float()
    return softmax, torch.from_numpy(random_boxes(rng, count * classes)).float().reshape(count, classes, 4)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 3), st.sampled_from([None, 0.5]))
def test_detections_equal_loops(seed: int, count: int, classes: int, voting: float | None) -> None:
    """Clip, score threshold, suppression class by class, limit, vote; and the order of proposals does not matter."""
    rng = np.random.default_rng(seed)
    softmax, boxes = heads(rng, count, classes)
    options = {"score_threshold": 0.2, "nms_threshold": 0.4, "limit": 5, "voting_threshold": voting}
    found = final_detections(softmax, boxes, (90, 80), **options)
    expected = []
    for place in range(classes):
        clipped = boxes[:, place].clamp(min=0).minimum(torch.tensor([80.0, 90, 80, 90])).tolist()
        rows = [(score, box) for score, box in zip(softmax[:, place].tolist(), clipped, strict=True) if score > 0.2]
        rows = [(score, box) for score, box in rows if box[2] > box[0] and box[3] > box[1]]
        for score, box in suppressed(rows, 0.4):
            voters = [row for row in rows if overlap(row[1], box) >= voting] if voting else [(1.0, box)]
            total = sum(weight for weight, _ in voters)
            expected.append((score, place, [sum(w * own[edge] for w, own in voters) / total for edge in range(4)]))
    expected = sorted(expected, key=lambda row: (-row[0], row[1]))[:5]
    assert found.scores.tolist() == [score for score, _, _ in expected]
    assert found.classes.tolist() == [place for _, place, _ in expected]
    edges = np.array([box for _, _, box in expected]).reshape(-1, 4)
    np.testing.assert_allclose(found.boxes.numpy(), edges, rtol=1e-5, atol=1e-5)
    mixed = torch.from_numpy(rng.permutation(count))
    again = final_detections(softmax[mixed], boxes[mixed], (90, 80), **options)
    assert torch.equal(found.scores, again.scores) and torch.equal(found.classes, again.classes)
    torch.testing.assert_close(found.boxes, again.boxes)


def only(softmax: list[list[float]], boxes: list[list[list[float]]]) -> Detections:
    return final_detections(
        torch.tensor(softmax), torch.tensor(boxes), (10, 10), score_threshold=0.1, nms_threshold=0.5, limit=9
    )


def test_classes_do_not_suppress_each_other() -> None:
    """One place, two classes: both stay; the background is no detection, and a threshold must be passed."""
    whole = [0.0, 0, 10, 10]
    found = only([[0.3, 0.2, 0.5], [0.1, 0.1, 0.8]], [[whole, whole]] * 2)
    assert found.classes.tolist() == [0, 1] and found.scores.tolist() == pytest.approx([0.3, 0.2])


def test_a_diverged_model_finds_nothing() -> None:
    """Scores or edges that are not finite give no detection; edges beyond the image are clipped, not dropped."""
    whole = [0.0, 0, 10, 10]
    for bad in ([NAN, 0.0, 9, 9], [0.0, 0, INF, 9], [-INF, 0.0, 9, 9], [12.0, 0, 19, 9], [3.0, 3, 3, 5]):
        assert len(only([[0.9, 0.1]], [[bad]]).scores) == 0
    assert len(only([[NAN, NAN]], [[whole]]).scores) == 0
    assert only([[0.9, 0.1]], [[[-5.0, -5, 99, 99]]]).boxes.tolist() == [whole]


def test_detections_are_torchvisions() -> None:
    """From the same logits and codes; boxes are clipped to the image, and there are more than the limit."""
    torch.manual_seed(0)
    heads = RoIHeads(nn.Identity(), nn.Identity(), nn.Identity(), 0.5, 0.5, 16, 0.25, None, 0.1, 0.4, 25)
    logits, codes, proposals = torch.randn(60, 4), torch.randn(60, 16), regions_in_image(60)
    boxes, scores, labels = heads.postprocess_detections(logits, codes, [proposals], [(80, 100)])
    softmax, decoded = logits.softmax(1).roll(-1, 1), heads.box_coder.decode(codes, [proposals])[:, 1:]
    found = final_detections(softmax, decoded, (80, 100), score_threshold=0.1, nms_threshold=0.4, limit=25)
    assert len(boxes[0]) == 25
    for ours, theirs in zip(found, (boxes[0], scores[0], labels[0] - 1), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_proposals() -> None:
    found = final_detections(
        torch.zeros(0, 4),
        torch.zeros(0, 3, 4),
        (9, 9),
        score_threshold=0,
        nms_threshold=0.5,
        limit=9,
        voting_threshold=0.5,
    )
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)] and found.classes.dtype == torch.int64

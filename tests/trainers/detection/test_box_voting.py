"""Box voting against loops in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detecting import jittered, no_detections, objects
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.detection.fusion import voted
from sdali.trainers.metrics.detections import Detections


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@given(st.integers(0, 10_000), st.integers(0, 6), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_equals_loops(seed: int, count: int, threshold: float) -> None:
    """The score-weighted mean of the class's boxes that overlap by the threshold, the survivor's own among them."""
    rng = np.random.default_rng(seed)
    candidates = jittered(rng, objects(rng, count, 2), 2)
    kept = torch.from_numpy(rng.permutation(len(candidates.scores))[:4])
    survivors = Detections(*(part[kept] for part in candidates))
    rows = list(zip(*(part.tolist() for part in candidates), strict=True))
    for found, (box, _, own) in zip(
        voted(survivors, candidates, threshold).tolist(), [rows[place] for place in kept.tolist()], strict=True
    ):
        voters = [(other, score) for other, score, place in rows if place == own and overlap(box, other) >= threshold]
        total = sum(score for _, score in voters)
        mean = [sum(score * other[edge] for other, score in voters) / total for edge in range(4)]
        assert found == pytest.approx(mean, rel=1e-6)


def test_by_hand() -> None:
    """Scores 3 and 1 move an edge a quarter of the way; another class, and a box that is too far, have no vote."""
    candidates = Detections(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 14], [0, 0, 10, 12], [0, 0, 10, 40]]),
        torch.tensor([0.9, 0.3, 0.8, 0.9]),
        torch.tensor([1, 1, 0, 1]),
    )
    survivors = Detections(*(part[:1] for part in candidates))
    torch.testing.assert_close(voted(survivors, candidates), torch.tensor([[0.0, 0, 10, 11]]))
    torch.testing.assert_close(voted(survivors, candidates, 0.8), survivors.boxes)


def test_what_nobody_votes_for_stays() -> None:
    """A box without area overlaps not even itself; scores of 0 weigh nothing; nothing is no number."""
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 9, 9]])
    found = Detections(boxes, torch.tensor([0.9, 0]), torch.tensor([0, 0]))
    assert torch.equal(voted(found, found), boxes)
    assert voted(no_detections(), found).shape == voted(no_detections(), no_detections()).shape == (0, 4)


def test_half_is_enough() -> None:
    """A box of exactly half the area, inside the survivor, votes: the lower edges 10 and 5 meet in the middle."""
    candidates = Detections(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]]), torch.tensor([0.5, 0.5]), torch.tensor([0, 0])
    )
    assert voted(Detections(*(part[:1] for part in candidates)), candidates).tolist() == [[0, 0, 10, 7.5]]

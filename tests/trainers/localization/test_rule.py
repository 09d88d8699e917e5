"""LOC = CLS + DET: the classifier's labels, the detector's boxes, and each fallback by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detecting import boxes as random_boxes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sdali.trainers.detection.fusion import Scored
from sdali.trainers.localization.rule import detector_classes, localized, top_labels, whole_image

SIZE = 100, 120  # px
NAN = torch.nan


def scored(rows: list[tuple[list[float], list[float], list[list[float]]]], classes: int = 2) -> Scored:
    """Proposals: (box, softmax, boxes of the classes)."""
    boxes, softmax, moved = ([row[place] for row in rows] for place in range(3))
    return Scored(
        torch.tensor(boxes).view(-1, 4),
        torch.arange(len(rows), 0, -1.0),
        torch.tensor(softmax).view(-1, classes + 1),
        torch.tensor(moved).view(-1, classes, 4),
    )


FAR, NEAR, NEXT = [60.0, 60, 90, 90], [10.0, 10, 30, 30], [10.0, 10, 30, 32]
TWO = scored([(FAR, [0.7, 0.1, 0.2], [FAR, FAR]), (NEAR, [0.2, 0.6, 0.2], [NEAR, NEAR])])


def answered(classes: list[float], of: Scored, top: int, **options) -> list[tuple[int, list[float]]]:
    found = localized(top_labels(torch.tensor([classes]), top)[0], of, SIZE, **options)
    assert found.labels.dtype == np.int64 and found.boxes.dtype == np.float64
    return list(zip(found.labels.tolist(), found.boxes.tolist(), strict=True))


def test_the_classifier_gives_labels_and_the_detector_boxes() -> None:
    """The most likely first; a box of edges 60..90 holds pixels 61..90."""
    assert answered([0.3, 0.7], TWO, top=2) == [(1, [11, 11, 30, 30]), (0, [61, 61, 90, 90])]
    assert answered([0.3, 0.7], TWO, top=1) == [(1, [11, 11, 30, 30])]


def test_fewer_classes_than_answers() -> None:
    """Each class once."""
    assert [label for label, _ in answered([0.3, 0.7], TWO, top=5)] == [1, 0]


def test_equally_likely_classes_come_in_their_order_and_no_number_last() -> None:
    likely = torch.tensor([[0.2, 0.4, 0.4, NAN], [NAN, NAN, 0.1, 0.0]])
    assert top_labels(likely, 3).tolist() == [[1, 2, 0], [2, 3, 0]]


def test_a_detection_counts_however_weak() -> None:
    """A score of a millionth, when all else is background."""
    weak = scored([(FAR, [1e-6, 0, 1], [NEXT, FAR]), (NEAR, [1e-7, 0, 1], [NEAR, NEAR])])
    assert answered([1, 0], weak, top=1, voting_threshold=None) == [(0, [11, 11, 30, 32])]


def test_neighbours_vote() -> None:
    """Scores 0.6 and 0.2 put the lower edge at (0.6 * 30 + 0.2 * 40) / 0.8 = 32.5; what overlaps too little does not
    vote, nor do other classes.
    """
    low = [10.0, 10, 30, 40]
    some = scored(
        [
            (NEAR, [0.6, 0.1, 0.3], [NEAR, FAR]),
            (NEAR, [0.2, 0.6, 0.2], [low, NEAR]),
            (FAR, [0.5, 0.1, 0.4], [FAR, FAR]),
        ]
    )
    assert answered([1, 0], some, top=1) == [(0, [11, 11, 30, 33])]  # 32.5 goes to the nearest pixel, halves upwards
    assert answered([1, 0], some, top=1, voting_threshold=None) == [(0, [11, 11, 30, 30])]


@pytest.mark.parametrize("useless", [[5.0, 5, 5, 9], [NAN, 0, 9, 9], [-9.0, -9, -5, -5], [0.0, 0, torch.inf, 9]])
def test_without_a_detection_the_best_proposal(useless: list[float]) -> None:
    """The boxes of the class are of no use; of the proposals that of the highest score for it counts."""
    of = scored([(FAR, [0.2, 0.7, 0.1], [useless, FAR]), (NEXT, [0.3, 0.6, 0.1], [useless, FAR])])
    assert answered([1, 0], of, top=1) == [(0, [11, 11, 30, 32])]


def test_scores_of_nothing_but_zeros() -> None:
    """The first proposal, for the class's scores are equal; the proposals come best first."""
    of = scored([(FAR, [0, 0.7, 0.3], [NEAR, FAR]), (NEAR, [0, 0.6, 0.4], [NEAR, FAR])])
    assert answered([1, 0], of, top=1) == [(0, [61, 61, 90, 90])]


def test_some_scores_that_are_no_numbers() -> None:
    """Another proposal is taken, even if it scores 0."""
    of = scored([(FAR, [NAN, NAN, NAN], [NEAR, FAR]), (NEAR, [0, 0.6, 0.4], [NEAR, FAR])])
    assert answered([1, 0], of, top=1) == [(0, [11, 11, 30, 30])]


@pytest.mark.parametrize("of", [scored([]), scored([(FAR, [NAN] * 3, [NEAR, FAR])])])
def test_without_any_score_the_whole_image(of: Scored) -> None:
    """No proposals, or a detector that has diverged; every class gets its answer."""
    assert answered([0.1, 0.9], of, top=2) == [(1, [1, 1, 120, 100]), (0, [1, 1, 120, 100])]
    assert detector_classes(of).tolist() == [0, 0]


def test_the_whole_image_as_an_answer() -> None:
    found = whole_image(np.array([4, 2]), SIZE)
    assert found.labels.tolist() == [4, 2] and found.boxes.tolist() == [[1, 1, 120, 100]] * 2


def test_a_detector_alone_is_as_sure_as_its_best_proposal() -> None:
    assert detector_classes(TWO).tolist() == pytest.approx([0.7, 0.6])


def _reference(label: int, of: Scored) -> list[float]:
    """Without voting: the highest-scoring box of the class, in a loop."""
    best, chosen = 0.0, [0.0, 0.0, 120.0, 100.0]
    for softmax, boxes in zip(of.softmax.tolist(), of.boxes.tolist(), strict=True):
        if softmax[label] > best:
            best, chosen = softmax[label], boxes[label]
    return chosen


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 12), st.integers(1, 5))
def test_boxes_are_those_of_the_highest_scores(seed: int, proposals: int, top: int) -> None:
    """Against a loop; proposals in any order give the same."""
    rng = np.random.default_rng(seed)
    own = torch.from_numpy(np.stack([random_boxes(rng, proposals) for _ in range(4)], 1)).float()
    softmax = torch.from_numpy(rng.dirichlet(np.ones(5), proposals)).float().view(-1, 5)
    of = Scored(own[:, 0], torch.arange(proposals, 0, -1.0), softmax, own)
    likely = torch.from_numpy(rng.random(4))
    found = localized(top_labels(likely[None], top)[0], of, SIZE, voting_threshold=None)
    assert found.labels.tolist() == sorted(range(4), key=lambda label: -likely[label])[:top]
    for label, box in zip(found.labels.tolist(), found.boxes, strict=True):
        edges = np.array(_reference(label, of))
        assert np.abs(box - 1 - edges + [0, 0, 1, 1]).max() <= 0.5
    mixed: Tensor = torch.from_numpy(rng.permutation(proposals))
    again = localized(
        torch.from_numpy(found.labels), Scored(*(part[mixed] for part in of)), SIZE, voting_threshold=None
    )
    np.testing.assert_array_equal(again.boxes, found.boxes)

"""The localization error against a literal reading of the development kit, and on its edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.localization.predictions import Predictions
from sdali.trainers.metrics.localization_error import LocalizationError

Truth = tuple[int, np.ndarray]


def answers(*rows: Sequence[float] | np.ndarray) -> Predictions:
    """label, x_min, y_min, x_max, y_max of each."""
    numbers = np.array(rows, np.float64).reshape(-1, 5)
    return Predictions(numbers[:, 0].astype(np.int64), numbers[:, 1:])


def kit_distance(bb: list[float], bbgt: list[float]) -> float:
    """0 for an overlap of 0.5 at least, else 1, as in the kit's eval_localization."""
    bi = [max(bb[0], bbgt[0]), max(bb[1], bbgt[1]), min(bb[2], bbgt[2]), min(bb[3], bbgt[3])]
    iw, ih = bi[2] - bi[0] + 1, bi[3] - bi[1] + 1
    if iw > 0 and ih > 0:
        ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (bbgt[2] - bbgt[0] + 1) * (bbgt[3] - bbgt[1] + 1) - iw * ih
        if iw * ih / ua >= 0.5:
            return 0.0
    return 1.0


def kit_error(own: Predictions, truth: Truth, top: int, *, perfect: bool = False) -> float:
    """min over answers of min over boxes of max(d(label, truth), f(box, truth))."""
    label, boxes = truth
    e = 1.0
    for answer, box in list(zip(own.labels.tolist(), own.boxes.tolist(), strict=True))[:top]:
        d = 0.0 if perfect or answer == label else 1.0
        for one in boxes.tolist():
            e = min(e, max(d, kit_distance(box, one)))
    return e


def some(seed: int, count: int) -> tuple[list[Predictions], list[Truth]]:
    """Whole pixels in a small image, so that overlaps are often near a half; 0 to 6 answers, 0 to 3 boxes."""
    rng = np.random.default_rng(seed)

    def boxes(most: int) -> np.ndarray:
        return np.sort(rng.integers(1, 9, (int(rng.integers(0, most + 1)), 2, 2)), axis=1).reshape(-1, 4)

    made = [answers(*(np.insert(box, 0, rng.integers(0, 4)) for box in boxes(6))) for _ in range(count)]
    return made, [(int(rng.integers(0, 4)), boxes(3)) for _ in range(count)]


@given(st.integers(0, 10_000), st.integers(1, 30), st.sampled_from([1, 3, 5]))
def test_equals_the_development_kit(seed: int, count: int, top: int) -> None:
    """The error, each class's, and what a perfect classifier would leave; the parts add up to the whole."""
    made, truth = some(seed, count)
    result = LocalizationError.of(made, truth, 4, top).compute()
    errors = [kit_error(own, one, top) for own, one in zip(made, truth, strict=True)]
    assert result["error"] == pytest.approx(np.mean(errors))
    perfect = [kit_error(own, one, top, perfect=True) for own, one in zip(made, truth, strict=True)]
    assert result["perfect_classifier_error"] == pytest.approx(np.mean(perfect))
    parts = result["box_wrong"] + result["label_wrong"] + result["both_wrong"]
    assert parts == pytest.approx(result["error"]) and result["images"] == count
    for place, found in enumerate(result["per_class"]):
        own = [error for error, (label, _) in zip(errors, truth, strict=True) if label == place]
        assert found == (pytest.approx(np.mean(own)) if own else None)
    missed = [label not in own.labels[:top] for own, (label, _) in zip(made, truth, strict=True)]
    assert result["classification_error"] == pytest.approx(np.mean(missed))


@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_any_split_gives_the_same_counts(seed: int, sizes: list[int]) -> None:
    made, truth = some(seed, sum(sizes))
    merged = LocalizationError.empty(4)
    for size, end in reversed(list(zip(sizes, np.cumsum(sizes).tolist(), strict=True))):
        merged = merged.merge(LocalizationError.of(made[end - size : end], truth[end - size : end], 4))
    assert torch.equal(merged.totals, LocalizationError.of(made, truth, 4).totals)


BOX = [11, 11, 20, 20]  # 10 x 10 pixels


def kind(own: Predictions, truth: Any = (2, [BOX]), top: int = 5) -> str:
    """What is said of one image; with a + where a perfect classifier would be right."""
    result = LocalizationError.of([own], [(truth[0], np.array(truth[1]).reshape(-1, 4))], 3, top).compute()
    kinds = [name for name in ("box_wrong", "label_wrong", "both_wrong") if result[name]]
    assert len(kinds) == result["error"]
    return (kinds[0] if kinds else "right") + "+" * (result["perfect_classifier_error"] == 0)


def test_exactly_a_half_is_right() -> None:
    """5 of 10 rows, the last inside: 50 pixels of 100; a column less is not enough. Without "+ 1" it were 4/9."""
    assert kind(answers([2, 11, 11, 20, 15])) == "right+"
    assert kind(answers([2, 12, 11, 20, 15])) == "box_wrong"
    assert kind(answers([2, 11, 11, 20, 14])) == "box_wrong"
    assert kind(answers([2, 11, 6, 20, 15])) == "box_wrong"  # 50 of 150
    assert kind(answers([2, 11, 11, 30, 20])) == "right+"  # 100 of 200
    assert kind(answers([2, 11, 11, 31, 20])) == "box_wrong"
    assert kind(answers([0, 5, 5, 5, 5]), (0, [[5, 5, 5, 5]])) == "right+"  # one pixel has an area


def test_any_box_of_the_class_counts() -> None:
    assert kind(answers([2, *BOX]), (2, [[1, 1, 5, 5], [40, 40, 49, 49], BOX])) == "right+"
    assert kind(answers([2, 30, 30, 39, 39]), (2, [[1, 1, 5, 5], BOX])) == "box_wrong"


def test_kinds_of_error() -> None:
    """By hand: the right label and the right box must stand in the same answer."""
    far = [40, 40, 49, 49]
    assert kind(answers([1, *BOX])) == "label_wrong+"
    assert kind(answers([1, *far])) == "both_wrong"
    assert kind(answers([2, *far])) == "box_wrong"
    assert kind(answers([2, *far], [1, *BOX])) == "box_wrong+"
    assert kind(answers([2, *far], [2, *BOX])) == "right+"


def test_only_the_first_answers_count() -> None:
    """And fewer, or none, are no more than errors."""
    rows = [[0, *BOX], [1, *BOX], [2, *BOX]]
    assert kind(answers(*rows)) == kind(answers(*rows), top=3) == "right+"
    assert kind(answers(*rows), top=2) == kind(answers(*rows), top=1) == "label_wrong+"
    assert kind(answers(*rows[::-1]), top=1) == "right+"
    assert kind(answers()) == "both_wrong"


def test_images_without_boxes_and_no_images() -> None:
    """What cannot be right errs; of nothing there is no share."""
    assert kind(answers([2, *BOX]), (2, [])) == "box_wrong"
    assert kind(answers([1, *BOX]), (2, [])) == "both_wrong"
    result = LocalizationError.of([], [], 2).compute()
    assert result["images"] == 0 and result["per_class"] == [None, None]
    assert {value for name, value in result.items() if name not in ("images", "per_class")} == {None}

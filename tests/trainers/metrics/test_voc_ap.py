"""VOC average precision against the development kit's loops in plain Python, and against curves worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from detecting import Images, images, merged, record
from hypothesis import given
from hypothesis import strategies as st

from sdali.trainers.metrics.detections import DetectionRecord, Detections, GroundTruth
from sdali.trainers.metrics.voc_ap import area_ap, eleven_point_ap, voc_ap


def overlap(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def hits_by_loops(some: Images, place: int, threshold: float) -> tuple[list[bool], int]:
    """VOCevaldet, one detection after another: right or wrong of each that counts, and the number of objects."""
    truth, found = {}, []
    for number, detections, objects in some:
        boxes = [box for box, own in zip(objects.boxes.tolist(), objects.classes.tolist(), strict=True) if own == place]
        hard = objects.difficult[objects.classes == place].tolist()
        truth[number] = [{"box": box, "difficult": d, "used": False} for box, d in zip(boxes, hard, strict=True)]
        rows = zip(*(part.tolist() for part in detections), strict=True)
        found += [(-score, number, turn, box) for turn, (box, score, own) in enumerate(rows) if own == place]
    hits = []
    for _, number, _, box in sorted(found):
        best, most = None, -1.0
        for one in truth[number]:
            if (iou := overlap(box, one["box"])) > most:
                best, most = one, iou
        if best is None or most <= threshold:
            hits.append(False)
        elif not best["difficult"]:
            hits.append(not best["used"])
            best["used"] = True
    return hits, sum(not one["difficult"] for held in truth.values() for one in held)


def exact_ap(hits: list[bool], objects: int) -> tuple[Fraction, Fraction]:
    """In fractions, from the definition: the best precision at each recall, at every step of it and at 11 points."""
    steps = [(Fraction(sum(hits[: n + 1]), objects), Fraction(sum(hits[: n + 1]), n + 1)) for n in range(len(hits))]

    def best(recall: Fraction) -> Fraction:
        return max((p for r, p in steps if r >= recall), default=Fraction(0))

    area = sum((best(Fraction(k + 1, objects)) for k in range(objects)), Fraction(0)) / objects
    return area, sum((best(Fraction(k, 10)) for k in range(11)), Fraction(0)) / 11


@given(st.integers(0, 10_000), st.integers(0, 12), st.booleans(), st.sampled_from([0.3, 0.5, 0.7]))
def test_equals_the_development_kit(seed: int, count: int, ties: bool, threshold: float) -> None:
    """Every class, both definitions, with difficult objects, duplicates and tied scores."""
    some = images(seed, count, classes=3, ties=ties)
    result = voc_ap(record(some), 3, threshold)
    for place in range(3):
        hits, objects = hits_by_loops(some, place, threshold)
        assert result["objects"][place] == objects
        if not objects:
            assert result["per_class"][place] is None and result["per_class_11_point"][place] is None
            continue
        area, points = exact_ap(hits, objects)
        assert result["per_class"][place] == pytest.approx(float(area), abs=1e-12)
        assert result["per_class_11_point"][place] == pytest.approx(float(points), abs=1e-12)
    known = [value for value in result["per_class"] if value is not None]
    assert result["map"] == (pytest.approx(np.mean(known)) if known else None)


@pytest.mark.slow
@given(st.integers(0, 10_000), st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_any_split_gives_the_same(seed: int, sizes: list[int]) -> None:
    """Batches of any sizes, empty ones too, merged in any order; ties stay as they are."""
    some = images(seed, sum(sizes), classes=3, ties=True)
    ends = np.cumsum(sizes)
    parts = [record(some[end - size : end]) for size, end in zip(sizes, ends.tolist(), strict=True)]
    assert voc_ap(merged(*reversed(parts)), 3) == voc_ap(record(some), 3)


def of_one_image(found: list[tuple[Any, float]], held: list[tuple[Any, bool]]) -> dict[str, Any]:
    detections = Detections(
        torch.tensor([box for box, _ in found]).reshape(-1, 4).float(),
        torch.tensor([score for _, score in found]),
        torch.zeros(len(found), dtype=torch.int64),
    )
    objects = GroundTruth(
        torch.tensor([box for box, _ in held]).reshape(-1, 4).float(),
        torch.zeros(len(held), dtype=torch.int64),
        torch.tensor([hard for _, hard in held]).bool(),
    )
    return voc_ap(DetectionRecord.of([0], [detections], [objects]), 1)


BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def test_a_second_detection_of_an_object_is_wrong() -> None:
    """By hand: right, wrong, right of 2 objects: 1 at recall 1/2, then 2/3; 6 points of 1 and 5 of 2/3."""
    result = of_one_image([(BOX, 0.9), (BOX, 0.8), (FAR, 0.7)], [(BOX, False), (FAR, False)])
    assert result["map"] == pytest.approx(1 / 2 + 1 / 3)
    assert result["map_11_point"] == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_difficult_objects_count_neither_way() -> None:
    """Found twice or not at all, they change nothing; where all are difficult there is nothing to find."""
    easy = [(BOX, False)]
    assert of_one_image([(FAR, 0.9), (FAR, 0.8), (BOX, 0.7)], [*easy, (FAR, True)])["map"] == 1
    assert of_one_image([(BOX, 0.7)], [*easy, (FAR, True)])["map"] == 1
    assert of_one_image([(FAR, 0.9), (BOX, 0.7)], easy)["map"] == 1 / 2
    assert of_one_image([(FAR, 0.9)], [(FAR, True)])["map"] is None


def test_half_is_not_enough() -> None:
    """IoU must be above 0.5: 10 x 10 px and 10 x 5 px in it share exactly a half."""
    assert of_one_image([([0, 0, 10, 5], 0.9)], [(BOX, False)])["map"] == 0
    assert of_one_image([([0, 0, 10, 5.01], 0.9)], [(BOX, False)])["map"] == 1


def test_boxes_without_area_are_never_right() -> None:
    """Not even on an object without area, where the overlap is 0 / 0."""
    point = [5, 5, 5, 5]
    assert of_one_image([(point, 0.9), (BOX, 0.5)], [(point, False), (BOX, False)])["map"] == pytest.approx(1 / 4)


def test_nothing_at_all() -> None:
    nothing = {"map": None, "map_11_point": None, "per_class": [None], "per_class_11_point": [None], "objects": [0]}
    assert of_one_image([], []) == voc_ap(DetectionRecord.empty(), 1) == nothing
    assert of_one_image([], [(BOX, False)])["map"] == 0


def test_three_of_ten_reach_a_recall_of_three_tenths() -> None:
    """In floating point 3 / 10 is below 3 x 0.1."""
    hits = np.array([True] * 3)
    assert eleven_point_ap(hits, 10) == pytest.approx(4 / 11)
    assert area_ap(hits, 10) == pytest.approx(0.3)

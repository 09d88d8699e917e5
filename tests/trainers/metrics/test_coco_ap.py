"""COCO's average precision against pycocotools called by hand, through its own files and its own summary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detecting import Images, images, merged, record
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sdali.trainers.metrics.coco_ap import coco_ap
from sdali.trainers.metrics.detections import DetectionRecord, Detections

KEYS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def summary(some: Images, folder: Path, category: int | None = None) -> list[float | None]:
    """The first six numbers that pycocotools prints, from an annotation and a result file; None for its -1."""
    held, made = [], []
    for number, detections, objects in some:
        areas = [None] * len(objects.boxes) if objects.areas is None else objects.areas.tolist()
        for box, place, hard, area in zip(*(part.tolist() for part in objects[:3]), areas, strict=True):
            wide, high = box[2] - box[0], box[3] - box[1]
            shape = {"bbox": [*box[:2], wide, high], "area": area or wide * high, "iscrowd": int(hard)}
            held.append({"id": len(held) + 1, "image_id": number, "category_id": 10 * place + 5, **shape})
        for box, score, place in zip(*(part.tolist() for part in detections), strict=True):
            bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
            made.append({"image_id": number, "category_id": 10 * place + 5, "bbox": bbox, "score": score})
    truth = {
        "images": [{"id": number} for number, _, _ in some],
        "categories": [{"id": 10 * place + 5} for place in range(3)],
        "annotations": held,
    }
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "made.json").write_text(json.dumps(made))
    coco = COCO(str(folder / "truth.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(folder / "made.json")), "bbox")
    if category is not None:
        evaluation.params.catIds = [10 * category + 5]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [None if value == -1 else float(value) for value in evaluation.stats[:6]]


@pytest.mark.parametrize("seed", range(6))
def test_equals_pycocotools(seed: int, tmp_path: Path) -> None:
    """Jittered boxes with crowds: all six numbers, and each class as if it were the only one."""
    some = images(seed, 12, classes=3)
    result = coco_ap(record(some), 3)
    assert [result[key] for key in KEYS] == pytest.approx(summary(some, tmp_path), abs=1e-12)
    for place in range(3):
        own = summary(some, tmp_path, place)
        assert [result["per_class"][place], result["per_class_50"][place]] == pytest.approx(own[:2], abs=1e-12)
    assert 0.05 < result["ap"] < result["ap50"] < 0.95


@pytest.mark.parametrize("seed", range(3))
def test_sizes_go_by_the_areas_of_outlines(seed: int, tmp_path: Path) -> None:
    """A tenth to all of the box's area: all six numbers are pycocotools' own, and not those of the boxes."""
    rng, some = np.random.default_rng(seed), []
    for number, made, truth in images(seed, 12, classes=3):
        sides = truth.boxes.double()[:, 2:] - truth.boxes.double()[:, :2]
        areas = sides.prod(1) * torch.from_numpy(rng.uniform(0.1, 1, len(sides)))
        some.append((number, made, truth._replace(areas=areas)))
    result = coco_ap(record(some), 3)
    assert [result[key] for key in KEYS] == pytest.approx(summary(some, tmp_path), abs=1e-12)
    by_boxes = coco_ap(record([(number, made, truth._replace(areas=None)) for number, made, truth in some]), 3)
    assert by_boxes["ap"] == result["ap"] and by_boxes["ap_small"] != result["ap_small"]


def test_the_truth_itself_is_perfect() -> None:
    """GroundTruth as detections, of any score: 1 everywhere, for every class and size that occurs."""
    some = [
        (number, Detections(truth.boxes, torch.linspace(0.1, 1, len(truth.boxes)), truth.classes), truth)
        for number, _, truth in images(3, 20, classes=2)
    ]
    result = coco_ap(record(some), 2)
    assert result["ap"] == result["ap50"] == result["ap75"] == pytest.approx(1)
    assert result["ap_small"] == result["ap_medium"] == pytest.approx(1)
    assert result["per_class"] == result["per_class_50"] == [pytest.approx(1)] * 2
    assert result["ap_large"] is None


def test_what_lies_in_a_difficult_object_does_not_count() -> None:
    """A difficult object is a crowd: found by part, twice or not at all, it changes nothing."""
    some = [(number, Detections(*made), truth) for number, made, truth in images(5, 8, classes=1)]
    inside = []
    for number, made, truth in some:
        hard = truth.boxes[truth.difficult]
        middle = (hard[:, :2] + hard[:, 2:]) / 2
        more = torch.cat([hard, torch.cat([hard[:, :2], middle], 1)])
        scores = torch.full((len(more),), 2.0)
        parts = zip(made, (more, scores, torch.zeros(len(more), dtype=torch.int64)), strict=True)
        inside.append((number, Detections(*(torch.cat(part) for part in parts)), truth))
    assert sum(len(made.scores) for _, made, _ in inside) > sum(len(made.scores) for _, made, _ in some)
    assert coco_ap(record(inside), 1)["ap50"] >= coco_ap(record(some), 1)["ap50"] > 0


def test_any_split_gives_the_same() -> None:
    """Merged in any order, with tied scores."""
    some = images(7, 9, classes=3, ties=True)
    assert coco_ap(merged(record(some[5:]), record(some[:5])), 3) == coco_ap(record(some), 3)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    coco_ap(record(images(0, 3, classes=3)), 3)
    assert capfd.readouterr() == ("", "")


def test_without_objects_or_images_or_detections() -> None:
    """None rather than -1; objects of which none is found make 0."""
    some = images(1, 4, classes=3)
    nothing = DetectionRecord.empty()
    assert coco_ap(nothing, 2) == {**dict.fromkeys(KEYS), "per_class": [None] * 2, "per_class_50": [None] * 2}
    whole = record(some)
    assert coco_ap(DetectionRecord(whole.images, nothing.objects, whole.detections), 3)["ap"] is None
    blind = coco_ap(DetectionRecord(whole.images, whole.objects, nothing.detections), 3)
    assert blind["ap"] == 0 and np.nanmax([value for value in blind["per_class"] if value is not None]) == 0

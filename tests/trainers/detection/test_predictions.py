"""Files of predictions: read back bit for bit, and taken by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from detecting import images, read_coco_predictions, record
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from sdali.pipelines.errors import InputError
from sdali.trainers.detection.predictions import write_predictions
from sdali.trainers.metrics.detections import DetectionRecord, Detections

STORE: Any = SimpleNamespace(names=[f"{number}.jpg" for number in range(12)], classes=("cat", "hund", "猫"))


def test_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Boxes, scores and classes of each image, in their order; images without detections have none."""
    some = images(2, 4, classes=3)
    write_predictions(tmp_path / "p.json", record(some), STORE)
    found = read_coco_predictions(tmp_path / "p.json", STORE)
    made = {number: detections for number, detections, _ in some}
    assert len(found) == len(STORE.names)
    for number, detections in enumerate(found):
        if number not in made:
            assert [len(part) for part in detections] == [0, 0, 0] and detections.boxes.shape == (0, 4)
            continue
        for part, own in zip(detections, made[number], strict=True):
            assert part.dtype == own.dtype and torch.equal(part, own)


@given(st.lists(st.floats(0, 4000, width=32), min_size=4, max_size=4), st.floats(0, 1, width=32))
def test_any_float32_box_survives(tmp_path_factory: pytest.TempPathFactory, box: list[float], score: float) -> None:
    """Whatever the mantissas of its edges."""
    edges = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
    made = Detections(torch.tensor([edges]), torch.tensor([score]), torch.tensor([2]))
    path = tmp_path_factory.mktemp("one") / "p.json"
    write_predictions(path, DetectionRecord(torch.tensor([5]), torch.zeros(0, 7), of_one(made)), STORE)
    found = read_coco_predictions(path, STORE)[5]
    assert torch.equal(found.boxes, made.boxes) and torch.equal(found.scores, made.scores)


def of_one(made: Detections) -> torch.Tensor:
    row = [5, int(made.classes[0]), float(made.scores[0]), *made.boxes[0].tolist()]
    return torch.tensor([row], dtype=torch.float64)


def test_pycocotools_takes_the_file(tmp_path: Path) -> None:
    """As results for an annotation file with the same numbers: x, y, width, height, categories from 1."""
    made = Detections(torch.tensor([[1.0, 2, 4, 6]]), torch.tensor([0.5]), torch.tensor([2]))
    write_predictions(tmp_path / "p.json", DetectionRecord(torch.tensor([5]), torch.zeros(0, 7), of_one(made)), STORE)
    dataset = {"images": [{"id": 5}], "categories": [{"id": 3}], "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    truth = COCO(str(tmp_path / "truth.json"))
    annotations: list[Any] = [*truth.loadRes(str(tmp_path / "p.json")).dataset["annotations"]]
    (found,) = annotations
    assert (found["image_id"], found["category_id"]) == (5, 3)
    assert (found["bbox"], found["area"], found["score"]) == ([1, 2, 3, 4], 12, 0.5)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_predictions(tmp_path / "none" / "p.json", DetectionRecord.empty(), STORE)

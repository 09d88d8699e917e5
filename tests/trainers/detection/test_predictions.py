"""Files of predictions: read back bit for bit, taken by pycocotools, refused in one sentence where they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from detecting import images, record
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from sdali.pipelines.errors import InputError
from sdali.trainers.detection.predictions import read_coco_predictions, write_coco_predictions
from sdali.trainers.metrics.detection_record import DetectionRecord
from sdali.trainers.metrics.detections import Detections


class Store(NamedTuple):
    names: list[str]
    classes: tuple[str, ...] = ("cat", "hund", "猫")
    path: Path = Path("pets.lmdb")


STORE = Store([f"{number}.jpg" for number in range(12)])
GOOD = {"image_id": 3, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


def test_read_back_bit_for_bit(tmp_path: Path) -> None:
    """Boxes, scores and classes of each image, in their order; images without detections have none."""
    some = images(2, 4, classes=3)
    write_coco_predictions(tmp_path / "p.json", record(some), STORE)
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
    write_coco_predictions(path, DetectionRecord(torch.tensor([5]), torch.zeros(0, 7), of_one(made)), STORE)
    found = read_coco_predictions(path, STORE)[5]
    assert torch.equal(found.boxes, made.boxes) and torch.equal(found.scores, made.scores)


def of_one(made: Detections) -> torch.Tensor:
    row = [5, int(made.classes[0]), float(made.scores[0]), *made.boxes[0].tolist()]
    return torch.tensor([row], dtype=torch.float64)


def test_pycocotools_takes_the_file(tmp_path: Path) -> None:
    """As results for an annotation file with the same numbers: x, y, width, height, categories from 1."""
    made = Detections(torch.tensor([[1.0, 2, 4, 6]]), torch.tensor([0.5]), torch.tensor([2]))
    write_coco_predictions(
        tmp_path / "p.json", DetectionRecord(torch.tensor([5]), torch.zeros(0, 7), of_one(made)), STORE
    )
    dataset = {"images": [{"id": 5}], "categories": [{"id": 3}], "annotations": []}
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    truth = COCO(str(tmp_path / "truth.json"))
    annotations: list[Any] = [*truth.loadRes(str(tmp_path / "p.json")).dataset["annotations"]]
    (found,) = annotations
    assert (found["image_id"], found["category_id"]) == (5, 3)
    assert (found["bbox"], found["area"], found["score"]) == ([1, 2, 3, 4], 12, 0.5)


def test_files_of_other_tools_need_no_names(tmp_path: Path) -> None:
    """COCO's four keys are enough; other keys are left alone."""
    (tmp_path / "p.json").write_text(json.dumps([{**GOOD, "segmentation": []}]))
    found = read_coco_predictions(tmp_path / "p.json", STORE)[3]
    assert (found.boxes.tolist(), found.scores.tolist(), found.classes.tolist()) == ([[1, 2, 4, 6]], [0.5], [0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("\xff", "is no JSON|holds no list"),
        ("[" * 100_000, "is no JSON"),
        ('{"a": 1}', "holds no list"),
        ("[3]", "prediction 0 of .* it is no object"),
        ([{**GOOD, "image_id": 12}], "image_id 12 is not one of the 12 images of pets.lmdb, 0 to 11"),
        ([{**GOOD, "image_id": True}], "image_id True"),
        ([GOOD, {**GOOD, "category_id": 0}], "prediction 1 .* category_id 0 is not one of the 3 classes"),
        ([{**GOOD, "category_id": 4}], "category_id 4"),
        ([{**GOOD, "bbox": [1, 2, 3]}], "bbox must be four numbers"),
        ([{**GOOD, "bbox": 7}], "cannot be used"),
        ([{**GOOD, "bbox": [1, 2, "3", 4]}], "bbox must be four numbers"),
        ([{**GOOD, "bbox": [1, 2, None, 4]}], "cannot be used"),
        ([{**GOOD, "bbox": [1, 2, -3, 4]}], "no side negative"),
        ([{**GOOD, "bbox": [1, 2, 10**400, 4]}], "cannot be used"),
        ([{**GOOD, "score": float("nan")}], "must be finite"),
        ([{key: GOOD[key] for key in ("image_id", "bbox", "score")}], "it lacks 'category_id'"),
        ([{**GOOD, "file_name": "9.jpg"}], "image 3 is 9.jpg there and 3.jpg in pets.lmdb"),
        ([{**GOOD, "category": "hund"}], "class 1 is hund there and cat in pets.lmdb"),
    ],
)
def test_wrong_files_are_one_sentence(tmp_path: Path, text: Any, message: str) -> None:
    (tmp_path / "p.json").write_text(text if isinstance(text, str) else json.dumps(text), "latin-1")
    with pytest.raises(InputError, match=message) as caught:
        read_coco_predictions(tmp_path / "p.json", STORE)
    assert "\n" not in str(caught.value) and "p.json" in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(InputError, match=f"cannot read {path}"):
            read_coco_predictions(path, STORE)
    with pytest.raises(InputError, match="cannot write"):
        write_coco_predictions(tmp_path / "none" / "p.json", DetectionRecord.empty(), STORE)

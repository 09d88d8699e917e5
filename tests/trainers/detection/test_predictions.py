"""Files of predictions: read back bit for bit, and taken by pycocotools."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from coco_files import coco_store
from detecting import images, jittered, read_coco_predictions, record
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sdali.pipelines import ImageStore, Subset, join_stores
from sdali.pipelines.errors import InputError
from sdali.trainers.detection.evaluation import truth_of
from sdali.trainers.detection.predictions import check_image_ids, write_predictions
from sdali.trainers.metrics.coco_ap import coco_ap
from sdali.trainers.metrics.detections import DetectionRecord, Detections

UNNUMBERED = {"image_ids": None, "source_sizes": None, "category_ids": None}
NAMES = [f"{number}.jpg" for number in range(12)]
STORE: Any = SimpleNamespace(names=NAMES, classes=("cat", "hund", "猫"), **UNNUMBERED)


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


def scored(store: ImageStore, record: DetectionRecord, truth: Path, out: Path) -> list[float]:
    """pycocotools' twelve numbers for the record's file of predictions, on the source's own annotation file."""
    write_predictions(out, record, store)
    coco = COCO(str(truth))
    evaluation = COCOeval(coco, coco.loadRes(str(out)), "bbox")
    evaluation.params.imgIds = sorted(number for number in coco.getImgIds() if f"{number}.jpg" in store.names)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats.tolist()


def scores_of_the_truth(store: ImageStore, truth: Path, out: Path) -> list[float]:
    """The numbers of predictions that are the store's own boxes."""
    held = [truth_of(store, index) for index in range(len(store))]
    made = [Detections(one.boxes, torch.ones(len(one.boxes)), one.classes) for one in held]
    return scored(store, DetectionRecord.of(range(len(store)), made, held), truth, out)


def test_an_evaluation_gives_what_pycocotools_gives_on_the_source(tmp_path: Path) -> None:
    """With crowds, and outlines smaller than their boxes: AP, and AP of small, medium and large objects."""
    store = coco_store(tmp_path, range(30, 0, -1), [7, 3], crowds=0.2)
    rng = np.random.default_rng(0)
    held = [truth_of(store, index) for index in range(len(store))]
    made = [jittered(rng, one, len(store.classes)) for one in held]
    record = DetectionRecord.of(range(len(store)), made, held)
    found = coco_ap(record, len(store.classes))
    theirs = scored(store, record, tmp_path / "coco.json", tmp_path / "p.json")
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
    assert [found[name] for name in names] == pytest.approx(theirs[:5], abs=1e-9) and theirs[5] == -1
    without = DetectionRecord.of(range(len(store)), made, [one._replace(areas=None) for one in held])
    assert abs(coco_ap(without, len(store.classes))["ap_medium"] - theirs[4]) > 0.01


@pytest.mark.parametrize("images", [[397133, 37777, 252219], [0, 1, 2], [-5, 1 << 53, (1 << 63) - 1]])
@pytest.mark.parametrize("categories", [[90, 1, 18], [2, 0, 1], [1, 2, 1 << 70]])
def test_predictions_have_the_ids_of_the_source(images: list[int], categories: list[int], tmp_path: Path) -> None:
    """Whatever they are, the boxes of the store are perfect detections for pycocotools on the source's own file."""
    store = coco_store(tmp_path, images, categories)
    assert scores_of_the_truth(store, tmp_path / "coco.json", tmp_path / "p.json")[0] == pytest.approx(1)


def test_predictions_are_in_the_pixels_of_the_source(tmp_path: Path) -> None:
    """Of a store whose images were shrunk, to the rounding of their sizes."""
    store = coco_store(tmp_path, [5, 8, 2], [1, 3], shorter_side=30)
    assert store.sizes.max() < 60 and store.source_sizes is not None and store.source_sizes.min() >= 80
    assert scores_of_the_truth(store, tmp_path / "coco.json", tmp_path / "p.json")[0] == pytest.approx(1)


def test_ids_of_shards_joined_stores_and_subsets(tmp_path: Path) -> None:
    """Each keeps the source's ids, and its predictions are perfect for its images."""
    for name, numbers in {"a": [5, 8, 2], "b": [7, 1]}.items():
        (tmp_path / name).mkdir()
        sharded = {"shard_bytes": 1} if name == "a" else {}
        coco_store(tmp_path / name, numbers, [10, 4], **sharded)
    a, b = ImageStore(tmp_path / "a/s.lmdb"), ImageStore(tmp_path / "b/s.lmdb")
    assert "shards" in a.header
    files = [tmp_path / "a/s.lmdb" / f"{number:05}.lmdb" for number in range(3)]
    join_stores(tmp_path / "all.lmdb", [*files, b.path])
    both = ImageStore(tmp_path / "all.lmdb")
    assert both.image_ids is not None and both.image_ids.tolist() == [5, 8, 2, 7, 1] and both.category_ids == (4, 10)
    whole = [json.loads((tmp_path / name / "coco.json").read_text()) for name in "ab"]
    for number, annotation in enumerate(whole[0]["annotations"] + whole[1]["annotations"], 1):
        annotation["id"] = number
    for key in ("images", "annotations"):
        whole[0][key] += whole[1][key]
    (tmp_path / "coco.json").write_text(json.dumps(whole[0]))
    check_image_ids(both)
    for store in (both, a, Subset(both, [4, 1])):
        out = tmp_path / f"{len(store)}.json"
        assert scores_of_the_truth(store, tmp_path / "coco.json", out)[0] == pytest.approx(1)


def test_ids_that_come_twice_are_refused(tmp_path: Path) -> None:
    """Before anything is evaluated: a file that names images by them would mix the two images up."""
    for name in "ab":
        (tmp_path / name).mkdir()
        coco_store(tmp_path / name, [5, 8] if name == "a" else [8, 9], [1], seed=ord(name))
    join_stores(tmp_path / "all.lmdb", [tmp_path / "a/s.lmdb", tmp_path / "b/s.lmdb"])
    with pytest.raises(InputError, match=r"has 2 images of the id 8, .*evaluate the stores that were joined"):
        check_image_ids(ImageStore(tmp_path / "all.lmdb"))

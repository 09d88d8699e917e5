"""Batches of object detection as torchvision's detectors and transforms take them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import coco_store
from detection_stores import make_detection_store
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes

from sdali.pipelines import (
    DetectionAugmentation,
    ImageStore,
    InputError,
    TorchvisionLoader,
    classification,
    detection,
    torchvision_targets,
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_detection_store(tmp_path_factory.mktemp("store") / "s.lmdb", 20)


def test_targets_are_the_boxes_of_the_store(store: ImageStore) -> None:
    """Scaled and mirrored by hand from the originals; difficult ones are left out, labels count from 1."""
    augmentation = DetectionAugmentation(flip=0.5)
    loader = detection.train_loader(
        store, batch_size=5, shorter_side=40, longer_side=80, augmentation=augmentation, device="cpu"
    )
    seen = 0
    for batch in loader:
        images, targets = torchvision_targets(batch)
        for place, (image, target) in enumerate(zip(images, targets, strict=True)):
            index, row = target["image_id"], batch["plan"][place]
            original, (height, width) = store.boxes(index), store.sizes[index]
            high, wide = image.shape[1:]
            assert isinstance(target["boxes"], BoundingBoxes)
            assert (high, wide) == tuple(batch["size"][place].tolist()) == target["boxes"].canvas_size
            expected = original.xyxy[~original.difficult] * [wide / width, high / height, wide / width, high / height]
            if row["flip"]:
                expected[:, [0, 2]] = wide - expected[:, [2, 0]]
            np.testing.assert_allclose(target["boxes"], expected.reshape(-1, 4), atol=1e-3)
            assert target["labels"].tolist() == (original.labels[~original.difficult] + 1).tolist()
            seen += len(expected)
    assert seen > 20


def test_boxes_without_extent_are_left_out() -> None:
    batch = {
        "image": torch.zeros(1, 3, 8, 8),
        "size": torch.tensor([[6, 7]]),
        "index": torch.tensor([4]),
        "boxes": [torch.tensor([[0.0, 0, 2, 2], [1, 1, 1, 3], [1, 2, 3, 2]])],
        "labels": [torch.tensor([0, 1, 2])],
        "difficult": [torch.tensor([False, False, False])],
        "areas": [torch.tensor([3.0, 0, 0])],
    }
    images, (target,) = torchvision_targets(batch)
    assert images[0].shape == (3, 6, 7) and target["boxes"].tolist() == [[0, 0, 2, 2]]
    assert target["labels"].tolist() == [1] and target["area"].tolist() == [3] and target["iscrowd"].tolist() == [0]
    assert type(target["image_id"]) is int and target["image_id"] == 4


def test_torchvision_trains_on_them_and_its_transforms_move_them(store: ImageStore) -> None:
    """A Faster R-CNN of torchvision gives finite losses; its flip moves image and boxes as if by hand."""
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 16, 16), torch.nn.ReLU())
    backbone.out_channels = 8  # type: ignore[assignment]
    network = FasterRCNN(
        backbone,
        num_classes=len(store.classes) + 1,
        rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.0,),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        image_mean=(0, 0, 0),
        image_std=(1, 1, 1),
        min_size=64,
        max_size=128,
    )
    loader = detection.train_loader(store, batch_size=4, shorter_side=64, longer_side=128, device="cpu")
    images, targets = torchvision_targets(next(iter(loader)))
    losses = network(images, targets)
    assert len(losses) == 4 and all(loss.isfinite() for loss in losses.values())
    image, target = v2.RandomHorizontalFlip(1.0)(images[0], targets[0])
    assert torch.equal(image, images[0].flip(-1))
    assert torch.allclose(target["boxes"][:, [0, 2]], images[0].shape[2] - targets[0]["boxes"][:, [2, 0]])


def truth_of(dataset) -> COCO:
    """What torchvision's reference evaluation makes of a data set: it reads these entries and the image's shape."""
    document: dict[str, list] = {"images": [], "annotations": []}
    for index in range(len(dataset)):
        image, target = dataset[index]
        height, width = image.shape[-2:]
        document["images"].append({"id": target["image_id"], "height": height, "width": width})
        columns = (target[name].tolist() for name in ("boxes", "labels", "area", "iscrowd"))
        for (left, top, right, bottom), label, area, crowd in zip(*columns, strict=True):
            shape = {"bbox": [left, top, right - left, bottom - top], "area": area, "iscrowd": crowd}
            ids = {"id": len(document["annotations"]) + 1, "image_id": target["image_id"], "category_id": label}
            document["annotations"].append({**ids, **shape})
    document["categories"] = [
        {"id": label} for label in sorted({one["category_id"] for one in document["annotations"]})
    ]
    coco = COCO()
    coco.dataset = document  # type: ignore[assignment]
    with redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def test_torchvisions_evaluation_finds_its_truth(tmp_path: Path) -> None:
    """Crowds included, of any shard of ranks: what batches have, as detections, is perfect at every size."""
    store = coco_store(tmp_path, range(15, 4, -1), [7, 3], crowds=0.3)
    crowds = int(store.objects().difficult.sum())
    results, seen = [], []
    for rank in (0, 1):
        options = {"rank": rank, "world_size": 2, "device": "cpu", "threads": 1}
        loader = TorchvisionLoader(
            detection.test_loader(store, batch_size=2, shorter_side=60, longer_side=90, **options)
        )
        for images, targets in loader:
            for image, target in zip(images, targets, strict=True):
                assert tuple(image.shape) == tuple(loader.dataset[target["image_id"]][0].shape) == (3, 60, 90)
                seen.append(target["image_id"])
                for box, label in zip(target["boxes"].tolist(), target["labels"].tolist(), strict=True):
                    bbox = [*box[:2], box[2] - box[0], box[3] - box[1]]
                    results.append({"image_id": seen[-1], "category_id": label, "bbox": bbox, "score": 1.0})
    assert sorted(seen) == list(range(11)) and crowds > 2 and len(results) == 22 - crowds
    truth = truth_of(loader.dataset)
    assert sum(one["iscrowd"] for one in truth.dataset["annotations"]) == crowds
    areas = {one["image_id"]: one["area"] for one in truth.dataset["annotations"] if one["category_id"] == 1}
    factor = 60 * 90 / store.sizes[0].prod()
    first = store.boxes(0)
    assert areas[0] == pytest.approx(first.object_areas()[first.labels == 0].item() * factor, rel=1e-5)
    with redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")  # type: ignore[arg-type]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert [value for value in evaluation.stats[:6] if value >= 0] == pytest.approx([1] * 4, abs=1e-9)


def test_other_loaders_have_no_truth(store: ImageStore) -> None:
    """A training's windows are drawn anew in each epoch, and a classification's have no boxes."""
    sides = {"device": "cpu", "threads": 1}
    for loader in (
        detection.train_loader(store, batch_size=4, **sides),
        classification.test_loader(store, batch_size=4, size=32, **sides),
        [1, 2],
    ):
        with pytest.raises(InputError, match=r"takes a loader that detection\.test_loader has made"):
            TorchvisionLoader(loader)  # type: ignore[arg-type]

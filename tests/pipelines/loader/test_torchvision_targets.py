"""Batches of object detection as torchvision's detectors and transforms take them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detection_stores import make_detection_store
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes

from sdali.pipelines import DetectionAugmentation, ImageStore, detection
from sdali.pipelines.loader.torchvision_targets import torchvision_targets


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
            index, row = int(target["image_id"]), batch["plan"][place]
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
    }
    images, (target,) = torchvision_targets(batch)
    assert images[0].shape == (3, 6, 7) and target["boxes"].tolist() == [[0, 0, 2, 2]]
    assert target["labels"].tolist() == [1]


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

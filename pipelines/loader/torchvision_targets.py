"""Batches of object detection in the form of torchvision's detectors: a list of images, a list of dicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torchvision.tv_tensors import BoundingBoxes

from ..errors import InputError
from ..plan.parsing import WholeImagePlanner
from .loader import Loader, Mapped

Target = dict[str, Any]


def torchvision_targets(batch: dict[str, Any]) -> tuple[list[torch.Tensor], list[Target]]:
    """A batch of detection.train_loader or test_loader -> images [3, h, w] without their padding, and a dict for each.

    A dict has `boxes`, tv_tensors.BoundingBoxes float32 [K, 4] (xyxy, px of that image), so that torchvision's
    transforms v2 move them; `labels` int64 [K], from 1 up, since 0 is the background there; `area` float32 [K], px² of
    that image; `iscrowd` int64 [K], all 0; and `image_id`, an int, the index of the sample in the store. The tensors
    are on the images' device. Difficult objects are left out, as are boxes without height or width, which torchvision
    refuses. Its models scale and normalise again: make them with image_mean=(0, 0, 0), image_std=(1, 1, 1) and the
    loader's sides as min_size and max_size.
    """
    images, targets = [], []
    for sample, (height, width) in enumerate(batch["size"].tolist()):
        boxes = batch["boxes"][sample]
        kept = ~batch["difficult"][sample] & (boxes[:, 2:] > boxes[:, :2]).all(1)
        images.append(batch["image"][sample, :, :height, :width])
        targets.append(_target(batch, sample, kept, batch["image"].device))
    return images, targets


class TorchvisionLoader(Mapped[tuple[list[torch.Tensor], list[Target]]]):
    """A detection.test_loader for torchvision's reference evaluation: batches as torchvision_targets makes them.

    Its `dataset` is what that evaluation makes its truth of: pairs by index of an image and its dict. The image has the
    right size, and no pixels; the dict has the boxes in pixels of the image as it is scaled, in which the network's
    detections are, and difficult objects too, with an `iscrowd` of 1. Raises InputError for any other loader.
    """

    def __init__(self, loader: Loader) -> None:
        if not (isinstance(loader, Loader) and loader.store.has_boxes and _is_of_whole_images(loader)):
            raise InputError("TorchvisionLoader takes a loader that detection.test_loader has made")
        super().__init__(loader, torchvision_targets)

    @property
    def dataset(self) -> _Truth:
        return _Truth(self.loader)


class _Truth:
    """See TorchvisionLoader."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader.store)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Target]:
        planner, annotations = self._loader._share.planner, self._loader._batches.annotations
        assert annotations is not None, "detection.test_loader gives them"
        image = {**annotations(planner.rows(0, index, np.array([index]))), "index": [index]}
        (height, width), every = image["size"][0].tolist(), torch.ones(len(image["labels"][0]), dtype=torch.bool)
        return torch.zeros(1).expand(3, height, width), _target(image, 0, every, "cpu")


def _is_of_whole_images(loader: Loader) -> bool:
    return loader._batches.annotations is not None and isinstance(loader._share.planner, WholeImagePlanner)


def _target(batch: dict[str, Any], sample: int, kept: torch.Tensor, device: torch.device | str) -> Target:
    boxes, size = batch["boxes"][sample][kept], batch["size"][sample].tolist()
    return {
        "boxes": BoundingBoxes(boxes.to(device), format="XYXY", canvas_size=tuple(size)),  # type: ignore[call-arg]
        "labels": (batch["labels"][sample][kept] + 1).to(device),
        "area": batch["areas"][sample][kept].to(device),
        "iscrowd": batch["difficult"][sample][kept].long().to(device),
        "image_id": int(batch["index"][sample]),
    }

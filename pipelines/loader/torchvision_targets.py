"""Batches of object detection in the form of torchvision's detectors: a list of images, a list of dicts."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.tv_tensors import BoundingBoxes


def torchvision_targets(batch: dict[str, Any]) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """A batch of detection.train_loader or test_loader -> images [3, h, w] without their padding, and a dict for each.

    A dict has `boxes`, tv_tensors.BoundingBoxes float32 [K, 4] (xyxy, px of that image), so that torchvision's
    transforms v2 move them; `labels` int64 [K], from 1 up, since 0 is the background there; and `image_id`, the index
    of the sample in the store. All are on the images' device. Difficult objects are left out, as are boxes without
    height or width, which torchvision refuses. Its models scale and normalise again: make them with image_mean=(0, 0,
    0), image_std=(1, 1, 1) and the loader's sides as min_size and max_size.
    """
    device = batch["image"].device
    images, targets = [], []
    for sample, (height, width) in enumerate(batch["size"].tolist()):
        boxes = batch["boxes"][sample]
        kept = ~batch["difficult"][sample] & (boxes[:, 2:] > boxes[:, :2]).all(1)
        images.append(batch["image"][sample, :, :height, :width])
        targets.append(
            {
                "boxes": BoundingBoxes(boxes[kept].to(device), format="XYXY", canvas_size=(height, width)),  # type: ignore[call-arg]
                "labels": (batch["labels"][sample][kept] + 1).to(device),
                "image_id": batch["index"][sample].to(device),
            }
        )
    return images, targets

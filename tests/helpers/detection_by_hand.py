"""Detections in one image, fused from networks, scales and mirror images by a loop of its own; for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import batched_nms, clip_boxes_to_image, nms


def by_hand(models: Sequence[Any], batches: Sequence[dict[str, Any]], flip: bool) -> tuple[Any, ...]:
    """Boxes, scores and classes; batches: the image at each scale. 25 proposals, scores above 0.05, NMS at 0.4, 9
    detections, two classes.
    """
    height, width = batches[0]["original_size"][0].tolist()
    looks = []
    for batch in batches:
        high, wide = batch["size"][0].tolist()
        for mirrored in (False, True)[: 1 + flip]:
            pixels = batch["image"].clone()
            if mirrored:
                pixels[..., :high, :wide] = batch["image"][..., :high, :wide].flip(3)
            looks += [(model, pixels, batch["size"], mirrored) for model in models]

    def back(boxes: torch.Tensor, look: Any) -> torch.Tensor:
        high, wide = look[2][0].tolist()
        if look[3]:
            boxes = torch.stack([wide - boxes[..., 2], boxes[..., 1], wide - boxes[..., 0], boxes[..., 3]], -1)
        return boxes * torch.tensor([width / wide, height / high] * 2)

    with torch.no_grad():
        features = [look[0].features(look[1]) for look in looks]
        pairs = [look[0].proposals(own, look[2])[0] for look, own in zip(looks, features, strict=True)]
        boxes = torch.cat([back(pair[0], look) for pair, look in zip(pairs, looks, strict=True)])
        scores = torch.cat([pair[1] for pair in pairs])
        order = sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), boxes[i].tolist()))  # scores may be equal
        boxes = boxes[order][nms(boxes[order], scores[order], 0.7)[:25]]
        scores, moved = torch.zeros(len(boxes), 3), torch.zeros(len(boxes), 2, 4)
        for look, own in zip(looks, features, strict=True):
            high, wide = look[2][0].tolist()
            there = boxes * torch.tensor([wide / width, high / height] * 2)
            if look[3]:
                there = torch.stack([wide - there[:, 2], there[:, 1], wide - there[:, 0], there[:, 3]], 1)
            said = look[0].classify(own, [there], look[2])[0]
            scores, moved = scores + said.scores / len(looks), moved + back(said.boxes, look) / len(looks)
    rows, classes = (scores[:, :2] > 0.05).nonzero(as_tuple=True)
    moved, scores = clip_boxes_to_image(moved, (height, width))[rows, classes], scores[rows, classes]
    kept = batched_nms(moved, scores, classes, 0.4)[:9]
    return moved[kept], scores[kept], classes[kept]

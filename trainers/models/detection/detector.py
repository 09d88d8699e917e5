"""What every detector can do, so that trainers, tests and fusion need not know which one it is.

In training a batch gives named losses. In test, features, proposals and scores are separate steps, since fusion has
several networks, scales and mirror images score the same proposals.

Boxes are xyxy in pixels of the network's input. Classes are 0 to C - 1, the background is C: the last column of scores.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .box_matching import proper


class Regions(NamedTuple):
    """What a detector says of R regions of one image, float32."""

    scores: Tensor
    """[R, C + 1]: softmax over the classes and the background."""
    boxes: Tensor
    """[R, C, 4]: the box of each class, not clipped."""


class Detector(nn.Module):
    """Images float [B, 3, H, W], normalised and padded at the right and the bottom, and true sizes int [B, 2], (H, W).

    In training also the ground truth of each image, boxes float32 [K, 4] and labels int64 [K], K from 0 up; boxes
    without width or height, or not finite, are left out. Gives a dictionary of losses, to be summed.
    In test gives Regions for the detector's own proposals, for `detection_fusion.final_detections`.
    """

    backbone: Any
    """The backbone, of which `backbone.network` holds a classifier's weights."""

    def forward(
        self, images: Tensor, sizes: Tensor, boxes: list[Tensor] | None = None, labels: list[Tensor] | None = None
    ) -> dict[str, Tensor] | list[Regions]:
        features, true_sizes = self.features(images), as_sizes(sizes)
        if self.training:
            assert boxes is not None and labels is not None, "training needs boxes and labels"
            kept = [proper(of_image) for of_image in boxes]
            boxes = [of_image[keep].float() for of_image, keep in zip(boxes, kept, strict=True)]
            labels = [of_image[keep] for of_image, keep in zip(labels, kept, strict=True)]
            return self.losses(features, true_sizes, boxes, labels)
        proposals = [of_image for of_image, _ in self.proposals(features, sizes)]
        return self.classify(features, proposals, sizes)

    def features(self, images: Tensor) -> Any:
        """Images -> what the other methods take."""
        raise NotImplementedError

    def proposals(self, features: Any, sizes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Boxes [R, 4], inside their image, and scores [R], best first, of each image."""
        raise NotImplementedError

    def classify(self, features: Any, proposals: list[Tensor], sizes: Tensor) -> list[Regions]:
        """What the network says of any proposals [R, 4] of each image, R from 0 up."""
        raise NotImplementedError

    def losses(
        self, features: Any, sizes: list[tuple[int, int]], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        raise NotImplementedError


def as_sizes(sizes: Tensor) -> list[tuple[int, int]]:
    return [(height, width) for height, width in sizes.tolist()]


def regions_of(logits: Tensor, boxes: Tensor, counts: list[int]) -> list[Regions]:
    """Logits [N, C + 1] and boxes [N, C, 4] of a whole batch, of which each image has so many."""
    scores = logits.float().softmax(1)
    pairs = zip(torch.split(scores, counts), torch.split(boxes, counts), strict=True)
    return [Regions(*pair) for pair in pairs]

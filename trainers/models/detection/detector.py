"""What every detector can do, so that training, evaluation and fusion need not know which one it is.

In training, a batch gives named losses. In evaluation, features, proposals and scores are separate steps, because in
fusion several networks, scales and mirror images score the same proposals.

Boxes are xyxy in pixels of the network's input. Classes are 0 to C - 1; the background is C, the last column of scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..backbones import Taken, load_matching
from .sampling import proper


class Regions(NamedTuple):
    """A detector's output for R regions of one image, float32."""

    scores: Tensor
    """[R, C + 1]: softmax over the classes and the background."""
    boxes: Tensor
    """[R, C, 4]: the box for each class, not clipped to the image."""


class Detector(nn.Module):
    """The interface of a detector, called with a batch of images.

    Args of a call:
        images: float [B, 3, H, W], normalised, and padded at the right and the bottom.
        sizes: int [B, 2], the (height, width) of each image without its padding.
        boxes, labels: in training, the ground truth of each image, float32 [K, 4] and int64 [K]; K may be 0. Boxes
            without width or height, or that are not finite, are left out.

    Returns, in training, a dictionary of losses, to be summed; in evaluation, the Regions of the detector's proposals
    in each image, which `trainers.detection.fusion` turns into detections.
    """

    backbone: Any
    """The backbone; `backbone.network` holds the weights that it shares with a classifier."""

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
        """Images -> the features that the other methods take."""
        raise NotImplementedError

    def proposals(self, features: Any, sizes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each image the boxes [R, 4], inside the image, and the scores [R] of its proposals, best first."""
        raise NotImplementedError

    def classify(self, features: Any, proposals: list[Tensor], sizes: Tensor) -> list[Regions]:
        """Scores and boxes for any proposals [R, 4] of each image; R may be 0."""
        raise NotImplementedError

    def losses(
        self, features: Any, sizes: list[tuple[int, int]], boxes: list[Tensor], labels: list[Tensor]
    ) -> dict[str, Tensor]:
        """The named losses of a batch; boxes and labels are the ground truth."""
        raise NotImplementedError


def as_sizes(sizes: Tensor) -> list[tuple[int, int]]:
    """int [B, 2] as a list of (height, width)."""
    return [(height, width) for height, width in sizes.tolist()]


def regions_of(logits: Tensor, boxes: Tensor, counts: list[int]) -> list[Regions]:
    """Logits [N, C + 1] and boxes [N, C, 4] of a whole batch, divided among its images, `counts` regions each."""
    scores = logits.float().softmax(1)
    pairs = zip(torch.split(scores, counts), torch.split(boxes, counts), strict=True)
    return [Regions(*pair) for pair in pairs]


def start_from(detector: Detector, state_dict: Mapping[str, Tensor], *, classifier: bool) -> Taken:
    """Load what fits of a classifier's weights into the backbone, and so into conv5, or of another detector's weights.

    If these have no global context, a pretrained one starts from the loaded conv5.
    """
    names = load_matching(detector.backbone.network if classifier else detector, state_dict)
    context = getattr(detector, "context", None)
    if context is not None and not any(name.startswith("context.") for name in names.taken):
        context.adopt(detector.backbone.conv5)
    return names

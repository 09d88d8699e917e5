"""LOC = CLS + DET: a classifier's best classes, each with the box that a detector gives it in the same image.

The classifier alone decides the labels, the detector only the boxes. The box of a class is the first there is of
    its detection with the highest score, however weak, after box voting
    the proposal with the highest score for it, where nothing with an area can be detected, or all scores are 0
    the whole image, where there are no proposals, or the detector has diverged and no score is finite
Source: the talk ("LOC = CLS + DET"); the fallbacks are our choice.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image

from ..detection.fusion import Scored, final_detections
from .predictions import Predictions, inclusive_pixels

_ANY_NMS = 0.5  # suppression never takes the best detection of a class, so nothing depends on it


def localized(
    labels: Tensor, scored: Scored, size: tuple[int, int], voting_threshold: float | None = 0.5
) -> Predictions:
    """A box for each of these classes of an image, int64 [A], the most certain first, such as a row of `top_labels`.

    size: of the image, height and width; `scored` is in its pixels. voting_threshold: see final_detections.
    """
    boxes = torch.stack([box_of(label, scored, size, voting_threshold) for label in labels.tolist()])
    return Predictions(labels.cpu().numpy(), inclusive_pixels(boxes.cpu().numpy(), *size))


def top_labels(classes: Tensor, top: int) -> Tensor:
    """int64 [B, top]: the most likely of C classes, float [B, C], or all if there are fewer; the most likely first.

    Equal ones come in their order, and NaN is least likely.
    """
    return classes.nan_to_num(nan=-torch.inf).argsort(dim=1, descending=True, stable=True)[:, :top]


def detector_classes(scored: Scored) -> Tensor:
    """float [C]: how sure the detector is that the image holds each class: its highest score for it, else 0."""
    scores = scored.softmax[:, :-1].float().nan_to_num()
    return torch.cat([scores, scores.new_zeros(1, scores.shape[1])]).amax(0)


def box_of(label: int, scored: Scored, size: tuple[int, int], voting_threshold: float | None) -> Tensor:
    """float32 [4]: the box of one class, xyxy with continuous edges, inside the image of this height and width."""
    detections = final_detections(
        scored.softmax[:, [label, -1]],
        scored.boxes[:, [label]],
        size,
        score_threshold=0,
        nms_threshold=_ANY_NMS,
        limit=1,
        voting_threshold=voting_threshold,
    )
    if len(detections.boxes):
        return detections.boxes[0].float()
    scores = scored.softmax[:, label].float()
    if scores.isfinite().any():
        best = scores.nan_to_num(-1, -1, -1).argmax()
        return clip_boxes_to_image(scored.proposals[best].float(), size)
    height, width = size
    return torch.tensor([0, 0, width, height], dtype=torch.float32, device=scores.device)


def whole_image(labels: np.ndarray, size: tuple[int, int]) -> Predictions:
    """The same labels int64 [A], each with the whole image of this height and width."""
    height, width = size
    return Predictions(labels, np.array([[1.0, 1.0, width, height]]).repeat(len(labels), 0))

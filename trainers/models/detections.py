"""From scored regions to detections: score threshold, NMS within each class, the best of the image."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from .detector import Regions

SMALLEST = 0.01  # px, torchvision's: thinner boxes are dropped


def detections(
    regions: Regions,
    size: tuple[int, int],
    *,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    limit: int = 100,
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes float32 [D, 4], scores [D], best first, classes int64 [D] of one image of (height, width) px.

    `score_threshold`: detections have more; `nms_threshold`: IoU with a better box of the class above which one is
    dropped; `limit`: D is at most this. Defaults are torchvision's. AP depends on all three: state them beside it.
    """
    scores, boxes = regions.scores[:, :-1], clip_boxes_to_image(regions.boxes, size)
    region, label = (scores > score_threshold).nonzero(as_tuple=True)
    boxes, scores = boxes[region, label], scores[region, label]
    keep = remove_small_boxes(boxes, SMALLEST)
    keep = keep[batched_nms(boxes[keep], scores[keep], label[keep], nms_threshold)][:limit]
    return boxes[keep], scores[keep], label[keep]

"""Fusing what several models, scales and mirror images say of one image, then making detections of it.

The way of the team's VOC article: the proposals of all are fused by suppression; then every one of them scores the SAME
proposals, and scores and boxes are averaged for each proposal. That is better than to pool finished detections.

    proposals, _ = fused_proposals([(view.to_original(boxes), scores), ...], nms_threshold=0.7, limit=300)
    # of each view: what it says of view.from_original(proposals), its boxes brought back by view.to_original
    softmax, boxes = averaged([(softmax, boxes), ...])
    found = final_detections(softmax, boxes, size, score_threshold=0.05, nms_threshold=0.3, limit=100)

Nothing depends on the order in which views or proposals are given, but for the last bit of a mean. What is not finite,
or has no area, is left out: where a model has diverged its proposals do not count, and means with it detect nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import clip_boxes_to_image, nms

from .box_voting import voted
from .detections import Detections


def fused_proposals(
    proposals: Sequence[tuple[Tensor, Tensor]], *, nms_threshold: float = 0.7, limit: int = 300
) -> tuple[Tensor, Tensor]:
    """Boxes float [R, 4] and scores [R], falling, of what remains of all views' proposals; R is `limit` at most.

    proposals: boxes [N, 4] in the original image and scores [N] of each view, N may be 0; one view at least.
    """
    boxes, scores = (torch.cat(parts) for parts in zip(*proposals, strict=True))
    usable = _usable(boxes, scores)
    boxes, scores = boxes[usable], scores[usable]
    order = _by_score(boxes, scores)
    kept = order[nms(boxes[order], scores[order], nms_threshold)[:limit]]
    return boxes[kept], scores[kept]


def averaged(views: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The means over views of softmax [R, C + 1] and boxes [R, C, 4] of the same R proposals, in the original image."""
    softmax, boxes = zip(*views, strict=True)
    return _mean(softmax), _mean(boxes)


def final_detections(
    softmax: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    score_threshold: float,
    nms_threshold: float,
    limit: int,
    voting_threshold: float | None = None,
) -> Detections:
    """The detections in an image, by falling score, `limit` at most; on the proposals' device, without a gradient.

    Args:
        softmax: float [R, C + 1], the background last.
        boxes: float [R, C, 4], for each class its own; they are clipped to the image.
        size: of the image, height and width, in the boxes' pixels.
        score_threshold: a detection scores more than this.
        nms_threshold: of two of a class with a greater IoU the one of the lower score goes.
        voting_threshold: of box voting, by all that is above the score threshold; None: boxes stay as they are.
    """
    scores, boxes = softmax.detach().float()[:, :-1], boxes.detach().float()
    clipped = clip_boxes_to_image(boxes, size)  # makes infinite edges finite, so these are looked for before
    rows, places = torch.where((scores > score_threshold) & boxes.isfinite().all(-1) & _usable(clipped, scores))
    candidates = Detections(clipped[rows, places], scores[rows, places], places)
    parts = [_suppressed(candidates, place, nms_threshold) for place in places.unique()]
    kept = torch.cat([places[:0], *parts])
    kept = kept[candidates.scores[kept].argsort(descending=True, stable=True)][:limit]
    found = Detections(*(part[kept] for part in candidates))
    if voting_threshold is None:
        return found
    return found._replace(boxes=voted(found, candidates, voting_threshold))


def _suppressed(candidates: Detections, place: Tensor, nms_threshold: float) -> Tensor:
    """int64: which of one class survive."""
    own = torch.where(candidates.classes == place)[0]
    own = own[_by_score(candidates.boxes[own], candidates.scores[own])]
    return own[nms(candidates.boxes[own], candidates.scores[own], nms_threshold)]


def _by_score(boxes: Tensor, scores: Tensor) -> Tensor:
    """int64 [N]: by falling score, equal ones by their boxes, so that the order given does not decide what survives."""
    order = torch.arange(len(scores), device=scores.device)
    for key in (*boxes.unbind(1)[::-1], -scores):
        order = order[key[order].argsort(stable=True)]
    return order


def _usable(boxes: Tensor, scores: Tensor) -> Tensor:
    """bool: box and score are finite, and the box has an area."""
    has_area = (boxes[..., 2:] > boxes[..., :2]).all(-1)
    return has_area & boxes.isfinite().all(-1) & scores.isfinite()


def _mean(parts: Sequence[Tensor]) -> Tensor:
    """In float64, so that the order hardly matters."""
    return torch.stack([part.double() for part in parts]).mean(0).to(parts[0].dtype)

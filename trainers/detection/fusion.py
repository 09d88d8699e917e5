"""Fusing the predictions of several models, scales and mirror images for one image, and making detections of them.

As in the team's VOC article, the proposals of all are pooled and suppressed; then every model scores the SAME proposals
in every view, and scores and boxes are averaged for each proposal. That is better than pooling finished detections.

    proposals, _ = fused_proposals([(view.to_original(boxes), scores), ...], nms_threshold=0.7, limit=300)
    # then in each view: classify view.from_original(proposals), and bring the boxes back with view.to_original
    softmax, boxes = averaged([(softmax, boxes), ...])
    detections = final_detections(softmax, boxes, size, score_threshold=0.05, nms_threshold=0.3, limit=100)

The result does not depend on the order of views or proposals, but for the last bit of a mean. Boxes and scores that are
not finite, and boxes without area, are left out: the proposals of a model that has diverged do not count, and means
with it detect nothing.

Box voting (Gidaris and Komodakis, ICCV 2015): each detection that survives suppression moves to the score-weighted mean
of the boxes of its class, from before suppression, that overlap it by an IoU of t or more, itself among them. t is 0.5
in the paper, 0.8 in Detectron. Scores and classes stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image, nms

from ..metrics.detections import Detections


@dataclass(frozen=True, kw_only=True)
class View:
    """An image of `original` height and width, resized to `size` height and width and perhaps mirrored; pixels."""

    original: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool = False

    def from_original(self, boxes: Tensor) -> Tensor:
        """Boxes float [..., 4], xyxy: from the original image into the view."""
        scaled = boxes * self._factors(boxes)
        return self._flipped(scaled) if self.mirrored else scaled

    def to_original(self, boxes: Tensor) -> Tensor:
        """Boxes float [..., 4], xyxy: from the view into the original image."""
        straight = self._flipped(boxes) if self.mirrored else boxes
        return straight / self._factors(boxes)

    def _factors(self, boxes: Tensor) -> Tensor:
        y, x = (new / old for new, old in zip(self.size, self.original, strict=True))
        return torch.tensor([x, y, x, y], dtype=boxes.dtype, device=boxes.device)

    def _flipped(self, boxes: Tensor) -> Tensor:
        left, top, right, bottom = boxes.unbind(-1)
        width = self.size[1]
        return torch.stack([width - right, top, width - left, bottom], -1)


class Scored(NamedTuple):
    """R classified proposals of one image, perhaps none."""

    proposals: Tensor
    """float [R, 4], the best first."""
    scores: Tensor
    """float [R], by which the proposals were chosen."""
    softmax: Tensor
    """float [R, C + 1], the background last."""
    boxes: Tensor
    """float [R, C, 4], one for each class, not clipped."""


def fused_proposals(
    proposals: Sequence[tuple[Tensor, Tensor]], *, nms_threshold: float = 0.7, limit: int = 300
) -> tuple[Tensor, Tensor]:
    """Boxes float [R, 4] and falling scores [R] of the proposals that remain after suppression, at most `limit`.

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

    softmax [R, C + 1] and boxes [R, C, 4] as in Scored; boxes are clipped to the image of height and width `size`. The
    thresholds are those of DetectionRules; all boxes above the score threshold vote.
    """
    scores, boxes = softmax.detach().float()[:, :-1], boxes.detach().float()
    clipped = clip_boxes_to_image(boxes, size)  # makes infinite edges finite, so these are looked for before
    rows, classes = torch.where((scores > score_threshold) & boxes.isfinite().all(-1) & _usable(clipped, scores))
    candidates = Detections(clipped[rows, classes], scores[rows, classes], classes)
    parts = [_suppressed(candidates, label, nms_threshold) for label in classes.unique()]
    kept = torch.cat([classes[:0], *parts])
    kept = kept[candidates.scores[kept].argsort(descending=True, stable=True)][:limit]
    survivors = Detections(*(part[kept] for part in candidates))
    if voting_threshold is None:
        return survivors
    return survivors._replace(boxes=voted(survivors, candidates, voting_threshold))


def voted(survivors: Detections, candidates: Detections, iou_threshold: float = 0.5) -> Tensor:
    """float [M, 4]: the boxes of M survivors after the vote of N candidates, on their device; computed in float64.

    candidates: the input of the suppression, with scores of 0 or more. A survivor that gets no vote (it has no area, or
    all scores are 0) stays where it is.
    """
    boxes = candidates.boxes.double()
    overlaps = box_iou(survivors.boxes.double(), boxes) >= iou_threshold
    votes = torch.where(overlaps & (survivors.classes[:, None] == candidates.classes), candidates.scores.double(), 0.0)
    total = votes.sum(1, keepdim=True)
    means = (votes @ boxes / total).to(survivors.boxes.dtype)
    return torch.where(total > 0, means, survivors.boxes)


def _suppressed(candidates: Detections, label: Tensor, nms_threshold: float) -> Tensor:
    """int64: the rows of the candidates of one class that survive."""
    rows = torch.where(candidates.classes == label)[0]
    rows = rows[_by_score(candidates.boxes[rows], candidates.scores[rows])]
    return rows[nms(candidates.boxes[rows], candidates.scores[rows], nms_threshold)]


def _by_score(boxes: Tensor, scores: Tensor) -> Tensor:
    """int64 [N]: rows by falling score, equal ones by box, so that the given order does not decide what survives."""
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

"""The objects that an image holds, the detections in it, and the record of both that metrics are computed from.

Boxes are xyxy pixels as the stores have them: continuous edges, so a box over a whole image is 0, 0, width, height.
They are those of the oriented original image unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class GroundTruth(NamedTuple):
    """The truth about one image: G objects, perhaps none."""

    boxes: Tensor
    """float [G, 4]."""
    classes: Tensor
    """int64 [G], indices of the class names."""
    difficult: Tensor
    """bool [G]: whether the object does not count: neither missing it nor detecting it is an error. VOC calls such
    objects difficult, COCO iscrowd."""
    areas: Tensor | None = None
    """float64 [G], px²: of the objects' outlines, where they are known; None: those of the boxes."""


class Detections(NamedTuple):
    """The detections in one image: D of them, perhaps none, in any order."""

    boxes: Tensor
    """float [D, 4]."""
    scores: Tensor
    """float [D], higher for more certain."""
    classes: Tensor
    """int64 [D], indices of the class names; 0 for proposals."""


@dataclass(frozen=True, eq=False)
class DetectionRecord:
    """All objects and detections of a set of images, as rows of numbers on the CPU.

    `voc_ap`, `coco_ap` and `proposal_recall` read one record, so an evaluation keeps one of its detections and one of
    its proposals, and ranks gather the rows of all. Results depend neither on their order nor on how the images were
    split, because computing goes through the images by their number.
    """

    images: Tensor
    """int64 [N]: indices in the store, each once."""
    objects: Tensor
    """float64 [G, 8]: image, class, difficult, box, area."""
    detections: Tensor
    """float64 [D, 7]: image, class, score, box."""

    @classmethod
    def empty(cls) -> DetectionRecord:
        """The record of no images."""
        return cls(torch.zeros(0, dtype=torch.int64), *(torch.zeros(0, n, dtype=torch.float64) for n in (8, 7)))

    @classmethod
    def of(
        cls, images: Sequence[int], detections: Sequence[Detections], objects: Sequence[GroundTruth]
    ) -> DetectionRecord:
        """The record of one batch of B images, on any device; B may be 0. images: their indices in the store."""
        nothing = cls.empty()
        of_objects = [
            _rows(i, one.classes, one.difficult, one.boxes, _areas(one)) for i, one in zip(images, objects, strict=True)
        ]
        scored = [_rows(i, one.classes, one.scores, one.boxes) for i, one in zip(images, detections, strict=True)]
        return cls(
            torch.tensor(images, dtype=torch.int64),
            torch.cat([nothing.objects, *of_objects]),
            torch.cat([nothing.detections, *scored]),
        )

    def by_image(self) -> Iterator[tuple[int, Detections, GroundTruth]]:
        """Each image's number, detections and objects, in order of the number; boxes, scores and areas in float64."""
        images = self.images.sort().values
        split = _split(self.detections, images), _split(self.objects, images)
        for image, detections, objects in zip(images.tolist(), *split, strict=True):
            yield (
                image,
                Detections(detections[:, 3:], detections[:, 2], detections[:, 1].long()),
                GroundTruth(objects[:, 3:7], objects[:, 1].long(), objects[:, 2].bool(), objects[:, 7]),
            )


def _areas(objects: GroundTruth) -> Tensor:
    """float64 [G]."""
    if objects.areas is not None:
        return objects.areas
    boxes = objects.boxes.double()
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def _rows(image: int, classes: Tensor, values: Tensor, boxes: Tensor, *more: Tensor) -> Tensor:
    """The rows of one image, float64 [R, 7 and more]."""
    columns = [torch.full_like(classes, image), classes, values, *boxes.unbind(1), *more]
    return torch.stack([column.detach().double().cpu() for column in columns], 1)


def _split(rows: Tensor, images: Tensor) -> tuple[Tensor, ...]:
    """The rows of each of the sorted images; within an image they keep their order."""
    assert (images[1:] > images[:-1]).all(), "an image is in the record twice"
    rows = rows[rows[:, 0].argsort(stable=True)]
    ends = torch.searchsorted(rows[:, 0].contiguous(), images.double(), right=True)
    return torch.tensor_split(rows, ends[:-1]) if len(images) else ()

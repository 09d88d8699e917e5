"""All objects and detections of a set of images, as rows of numbers: what every metric of detection is computed from.

Empty, of, merge, as the other metrics; `voc_ap`, `coco_ap` and `proposal_recall` are the computing, each from one
record, so an evaluation keeps one for its detections and one for its proposals. Rows are gathered from ranks as they
are, and results depend neither on the order of merging nor on how the images were split: computing goes by image
number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..detection.detections import Detections, GroundTruth


@dataclass(frozen=True, eq=False)
class DetectionRecord:
    """`images` int64 [N], samples in the store, each once; `objects` float64 [G, 7]: image, class, difficult, box;
    `detections` float64 [D, 7]: image, class, score, box. All on the CPU.
    """

    images: Tensor
    objects: Tensor
    detections: Tensor

    @classmethod
    def empty(cls) -> DetectionRecord:
        """Of no image."""
        return cls(torch.zeros(0, dtype=torch.int64), *(torch.zeros(0, 7, dtype=torch.float64) for _ in range(2)))

    @classmethod
    def of(
        cls, images: Sequence[int], detections: Sequence[Detections], objects: Sequence[GroundTruth]
    ) -> DetectionRecord:
        """Of one batch of B images, which may be 0, on any device; images: samples in the store."""
        nothing = cls.empty()
        found = [
            _rows(image, one.classes, one.scores, one.boxes) for image, one in zip(images, detections, strict=True)
        ]
        held = [_rows(image, one.classes, one.difficult, one.boxes) for image, one in zip(images, objects, strict=True)]
        return cls(
            torch.tensor(images, dtype=torch.int64),
            torch.cat([nothing.objects, *held]),
            torch.cat([nothing.detections, *found]),
        )

    def merge(self, other: DetectionRecord) -> DetectionRecord:
        """Of both sets of images, which must not share any."""
        return DetectionRecord(
            torch.cat([self.images, other.images]),
            torch.cat([self.objects, other.objects]),
            torch.cat([self.detections, other.detections]),
        )

    def by_image(self) -> Iterator[tuple[int, Detections, GroundTruth]]:
        """Each image, what is found in it and what it holds, in order of its number; boxes and scores in float64."""
        images = self.images.sort().values
        found, held = _split(self.detections, images), _split(self.objects, images)
        for image, detections, objects in zip(images.tolist(), found, held, strict=True):
            yield (
                image,
                Detections(detections[:, 3:], detections[:, 2], detections[:, 1].long()),
                GroundTruth(objects[:, 3:], objects[:, 1].long(), objects[:, 2].bool()),
            )


def _rows(image: int, classes: Tensor, values: Tensor, boxes: Tensor) -> Tensor:
    """float64 [R, 7] of one image."""
    columns = [torch.full_like(classes, image), classes, values, *boxes.unbind(1)]
    return torch.stack([column.detach().double().cpu() for column in columns], 1)


def _split(rows: Tensor, images: Tensor) -> tuple[Tensor, ...]:
    """The rows of each of the sorted images; within an image they keep their order."""
    assert (images[1:] > images[:-1]).all(), "an image stands in the record twice"
    rows = rows[rows[:, 0].argsort(stable=True)]
    ends = torch.searchsorted(rows[:, 0].contiguous(), images.double(), right=True)
    return torch.tensor_split(rows, ends[:-1]) if len(images) else ()

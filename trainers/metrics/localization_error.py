"""Object localization as ILSVRC's development kit counts it, and where an error comes from.

An answer is right if its label is the image's and its box has IoU >= 0.5 with any of the image's boxes, all of that
class; an image errs if none of its answers is right. Boxes are the kit's, see localization_answers: the last pixel lies
inside, so a side is x_max - x_min + 1. Of an image that errs exactly one thing is said:
    box wrong    the label is among the answers, but no answer of that label has a right box
    label wrong  the label is not among them, but the box of one of them is right
    both wrong   neither the label nor a right box is among them
A perfect classifier would put the true label on every answer: what it still errs on are images without any right box.
Empty, merge, compute, as Accuracy: any split of the images agrees, and ranks add their `totals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..localization.answers import Answers

COLUMNS = ("images", "box_wrong", "label_wrong", "both_wrong", "no_right_box")


@dataclass(frozen=True, eq=False)
class LocalizationError:
    """`totals` float64 [K, 5], a row for each true class: images, those of each kind of error, those without a right
    box.
    """

    totals: Tensor

    @classmethod
    def empty(cls, classes: int) -> LocalizationError:
        """Of no image."""
        return cls(torch.zeros(classes, len(COLUMNS), dtype=torch.float64))

    @classmethod
    def of(
        cls, answers: Sequence[Answers], truth: Sequence[tuple[int, np.ndarray]], classes: int, top: int = 5
    ) -> LocalizationError:
        """Of B images, which may be none.

        truth: the label of each, and its boxes float [G, 4] in the kit's pixels; an image without boxes always errs.
        top: so many answers to each count, the first; there may be fewer, or none.
        """
        totals = cls.empty(classes).totals
        for own, (label, boxes) in zip(answers, truth, strict=True):
            totals[label] += _counts(own.labels[:top] == label, _fits(own.boxes[:top], boxes))
        return cls(totals)

    def merge(self, other: LocalizationError) -> LocalizationError:
        """Of both sets of images, which must not share any."""
        return LocalizationError(self.totals + other.totals)

    def compute(self) -> dict[str, Any]:
        """Shares of the images in [0, 1]: error, the sum of box_wrong, label_wrong and both_wrong; classification_error
        (the label not among the answers); perfect_classifier_error; per_class, a list of K errors. images: their
        number. A share is None where there is no image.
        """
        images, box, label, both, no_box = self.totals.sum(0).tolist()
        counts = {
            "error": box + label + both,
            "box_wrong": box,
            "label_wrong": label,
            "both_wrong": both,
            "classification_error": label + both,
            "perfect_classifier_error": no_box,
        }
        return {
            **{name: _share(count, images) for name, count in counts.items()},
            "images": int(images),
            "per_class": [_share(sum(errors), count) for count, *errors, _ in self.totals.tolist()],
        }


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [A, B]: IoU of boxes [A, 4] and [B, 4] whose last pixels lie inside; exact for whole pixels."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2] + 1).prod(-1) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def _fits(answers: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool [A]: which boxes are right."""
    return np.any(inclusive_iou(answers, boxes) >= 0.5, axis=1)


def _counts(label_right: np.ndarray, box_right: np.ndarray) -> Tensor:
    """float64 [5]: the columns of one image, from what is right of each of its answers, bool [A]."""
    label, box, both = bool(label_right.any()), bool(box_right.any()), bool((label_right & box_right).any())
    columns = [True, label and not both, box and not label, not label and not box, not box]
    return torch.tensor(columns, dtype=torch.float64)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None

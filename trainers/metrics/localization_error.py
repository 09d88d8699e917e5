"""Object localization as ILSVRC's development kit scores it, and where the errors come from.

A prediction is a label and a box. It is right if its label is the image's and its box has IoU >= 0.5 with any of the
image's boxes, all of which are of that class. An image is an error if none of its predictions is right; each error has
exactly one of three causes:

    box wrong    the label is among the predictions, but no prediction with that label has a right box
    label wrong  the label is not among the predictions, but the box of one of them is right
    both wrong   neither the label nor a right box is among the predictions

A perfect classifier would put the true label on every prediction; it still errs on images without any right box. Boxes
are the kit's (see `inclusive_pixels` in localization): the last pixel lies inside, so a side is x_max - x_min + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import Totals, share

COLUMNS = ("images", "box_wrong", "label_wrong", "both_wrong", "no_right_box")


class LocalizationError(Totals):
    """Columns of each true class: the counts of images named in COLUMNS."""

    columns = len(COLUMNS)

    @classmethod
    def of(
        cls,
        predictions: Sequence[tuple[np.ndarray, np.ndarray]],
        truth: Sequence[tuple[int, np.ndarray]],
        classes: int,
        top: int = 5,
    ) -> LocalizationError:
        """The metric of B images, perhaps none; `top`: how many predictions of an image count at most.

        predictions: for each image the labels int64 [A] and boxes float [A, 4], the most certain first, perhaps none.
        truth: for each image its label, and its boxes float [G, 4]; an image without boxes is always an error.
        """
        totals = cls.empty(classes).totals
        for (labels, boxes), (label, true_boxes) in zip(predictions, truth, strict=True):
            box_right = np.any(inclusive_iou(boxes[:top], true_boxes) >= 0.5, axis=1)
            totals[label] += _counts(labels[:top] == label, box_right)
        return cls(totals)

    def compute(self) -> dict[str, Any]:
        """Shares of the images in [0, 1], and `images`, their number.

        `error` is the sum of `box_wrong`, `label_wrong` and `both_wrong`; `classification_error` is the share of images
        whose label is not among the predictions; then `perfect_classifier_error`, and `per_class`, a list of K errors.
        A share is None where there are no images.
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
            **{name: share(count, images) for name, count in counts.items()},
            "images": int(images),
            "per_class": [share(sum(errors), count) for count, *errors, _ in self.totals.tolist()],
        }


def inclusive_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float64 [A, B]: IoU of boxes [A, 4] and [B, 4] whose last pixels lie inside; exact for whole pixels."""
    a, b = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = sides.clip(0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2] + 1).prod(-1) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def _counts(label_right: np.ndarray, box_right: np.ndarray) -> Tensor:
    """The columns of one image, float64 [5], from what is right about each of its predictions, bool [A]."""
    label, box, both = bool(label_right.any()), bool(box_right.any()), bool((label_right & box_right).any())
    columns = [True, label and not both, box and not label, not label and not box, not box]
    return torch.tensor(columns, dtype=torch.float64)

"""Pictures of predictions of object localization, right and wrong: the label, the box, or both may be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...cams.drawing.sheet import Row, contact_sheet, fitted
from ...pipelines.io.publish import write_png
from ...pipelines.store.reader import ImageStore
from ..core.pictures import decoded, printable
from ..detection.pictures import RIGHT, TRUTH, WRONG, Mark, marked
from ..metrics.localization_error import inclusive_iou
from .predictions import Predictions

EACH, HEIGHT, WIDTH = 3, 320, 480  # images of each kind; px, the largest a picture on the sheet can be


class Verdict(NamedTuple):
    """Whether the predictions for one image are right, and the one prediction that shows it."""

    kind: str
    """right, box wrong, label wrong, or both wrong; as in metrics.localization_error."""
    prediction: int
    """Which prediction, from 0: of those of this kind the one of the highest IoU, the first of equal ones."""
    iou: float
    """The highest IoU of its box with a box of the image."""


def verdict(predictions: Predictions, label: int, boxes: np.ndarray) -> Verdict:
    """The verdict on the predictions, one at least, for an image of this label and boxes [G, 4] in the kit's pixels."""
    overlaps = inclusive_iou(predictions.boxes, boxes).max(1)
    right_label, right_box = predictions.labels == label, overlaps >= 0.5
    kinds = {
        "right": right_label & right_box,
        "box wrong": right_label,
        "label wrong": right_box,
        "both wrong": np.ones(len(overlaps), bool),
    }
    kind = next(kind for kind, chosen in kinds.items() if chosen.any())
    best = int(np.where(kinds[kind], overlaps, -1).argmax())
    return Verdict(kind, best, float(overlaps[best]))


def save_localization_picture(
    path: Path,
    store: ImageStore,
    predictions: Sequence[Predictions],
    truth: Sequence[tuple[int, np.ndarray]],
    top: int,
    *,
    overwrite: bool = False,
) -> None:
    """Write a PNG with a few images of each verdict, evenly spread over the store; raises InputError where it cannot.

    predictions: for each image, of which the first `top` count; truth: labels and boxes, see LocalizationError.
    """
    kept = [Predictions(of_image.labels[:top], of_image.boxes[:top]) for of_image in predictions]
    verdicts = [verdict(of_image, *true) for of_image, true in zip(kept, truth, strict=True)]
    shown = [image for kind in ("right", "box wrong", "label wrong", "both wrong") for image in _some(verdicts, kind)]
    names = [printable(name) for name in store.classes]
    rows = [_row(store, image, kept[image], truth[image], verdicts[image], names) for image in shown]
    write_png(path, contact_sheet([("Truth", 1), ("Prediction", 1)], rows, HEIGHT), overwrite=overwrite)


def _some(verdicts: Sequence[Verdict], kind: str) -> list[int]:
    of_kind = np.flatnonzero([one.kind == kind for one in verdicts])
    chosen = np.unique(np.linspace(0, max(len(of_kind) - 1, 0), EACH).round().astype(np.int64))
    return of_kind[chosen[: len(of_kind)]].tolist()


def _row(
    store: ImageStore,
    image: int,
    predictions: Predictions,
    true: tuple[int, np.ndarray],
    judged: Verdict,
    classes: Sequence[str],
) -> Row:
    label, boxes = true
    picture = decoded(store, image)
    small = fitted(picture, HEIGHT, WIDTH)
    y, x = small.shape[0] / picture.shape[0], small.shape[1] / picture.shape[1]

    def mark(box: np.ndarray, colour: tuple[int, int, int], text: str) -> Mark:
        left, top, right, bottom = box.tolist()  # the kit's pixels, of which the last lies inside
        return Mark([(left - 1) * x, (top - 1) * y, right * x, bottom * y], colour, text)

    truth_marks = [mark(box, TRUTH, classes[label]) for box in boxes]
    number, is_right = judged.prediction, judged.kind == "right"
    name = classes[int(predictions.labels[number])]
    prediction = mark(
        predictions.boxes[number], RIGHT if is_right else WRONG, name if is_right else f"{name}: {judged.kind}"
    )
    details = f"{judged.kind}, IoU {judged.iou:.2f}, prediction {number + 1} of {len(predictions.labels)}"
    return Row(
        name=printable(store.names[image]),
        details=details,
        cells=[marked(small, truth_marks), marked(small, [prediction])],
    )

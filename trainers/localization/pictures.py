"""Pictures of answers to object localization, right and wrong ones, and what is wrong: the label, the box, or both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...cams.drawing.sheet import Row, contact_sheet, fitted
from ...pipelines.io.publish import write_png
from ...pipelines.store.reader import ImageStore
from ..detection.pictures import RIGHT, TRUTH, WRONG, Mark, marked, printable
from ..detection.testing import decoded
from ..metrics.localization_error import inclusive_iou
from .answers import Answers

EACH, HEIGHT, WIDTH = 3, 320, 480  # images of each kind; px, the largest a picture on the sheet can be


class Verdict(NamedTuple):
    """What is said of the answers to one image, and the one answer that shows it."""

    kind: str
    """right, box wrong, label wrong, or both wrong; as in metrics.localization_error."""
    answer: int
    """Its place: of the answers of this kind that of the highest IoU, the first of equal ones."""
    iou: float
    """The highest of its box with the image's."""


def verdict(answers: Answers, label: int, boxes: np.ndarray) -> Verdict:
    """Of one answer or more, and an image of this label with boxes [G, 4] in the kit's pixels, G at least 1."""
    overlaps = inclusive_iou(answers.boxes, boxes).max(1)
    right_label, right_box = answers.labels == label, overlaps >= 0.5
    kinds = {
        "right": right_label & right_box,
        "box wrong": right_label,
        "label wrong": right_box,
        "both wrong": np.ones(len(overlaps), bool),
    }
    kind = next(kind for kind, chosen in kinds.items() if chosen.any())
    place = int(np.where(kinds[kind], overlaps, -1).argmax())
    return Verdict(kind, place, float(overlaps[place]))


def save_localization_picture(
    path: Path,
    store: ImageStore,
    answers: Sequence[Answers],
    truth: Sequence[tuple[int, np.ndarray]],
    top: int,
    *,
    overwrite: bool = False,
) -> None:
    """Write a PNG with a few images of each verdict, evenly spread over the store; raises InputError where it cannot.

    answers: to each image, of which the first `top` count; truth: labels and boxes, see metrics.localization_error.
    """
    kept = [Answers(own.labels[:top], own.boxes[:top]) for own in answers]
    verdicts = [verdict(own, *true) for own, true in zip(kept, truth, strict=True)]
    shown = [image for kind in ("right", "box wrong", "label wrong", "both wrong") for image in _some(verdicts, kind)]
    names = [printable(name) for name in store.classes]
    rows = [_row(store, image, kept[image], truth[image], verdicts[image], names) for image in shown]
    write_png(path, contact_sheet([("Truth", 1), ("Answer", 1)], rows, HEIGHT), overwrite=overwrite)


def _some(verdicts: Sequence[Verdict], kind: str) -> list[int]:
    of_kind = np.flatnonzero([one.kind == kind for one in verdicts])
    chosen = np.unique(np.linspace(0, max(len(of_kind) - 1, 0), EACH).round().astype(np.int64))
    return of_kind[chosen[: len(of_kind)]].tolist()


def _row(
    store: ImageStore, image: int, own: Answers, true: tuple[int, np.ndarray], said: Verdict, classes: Sequence[str]
) -> Row:
    label, boxes = true
    picture = decoded(store, image)
    small = fitted(picture, HEIGHT, WIDTH)
    y, x = small.shape[0] / picture.shape[0], small.shape[1] / picture.shape[1]

    def mark(box: np.ndarray, colour: tuple[int, int, int], text: str) -> Mark:
        left, top, right, bottom = box.tolist()  # the kit's pixels, of which the last lies inside
        return Mark([(left - 1) * x, (top - 1) * y, right * x, bottom * y], colour, text)

    truth_marks = [mark(box, TRUTH, classes[label]) for box in boxes]
    colour = RIGHT if said.kind == "right" else WRONG
    name = classes[int(own.labels[said.answer])]
    answer = mark(own.boxes[said.answer], colour, name if said.kind == "right" else f"{name}: {said.kind}")
    details = f"{said.kind}, IoU {said.iou:.2f}, answer {said.answer + 1} of {len(own.labels)}"
    return Row(
        name=printable(store.names[image]),
        details=details,
        cells=[marked(small, truth_marks), marked(small, [answer])],
    )

"""Pictures of detections: the objects of an image beside the detections in it, and which of these are right.

The colours are those of Okabe and Ito, which colour-blind people can tell apart, and never the only sign: right
detections have a solid line, wrong ones a dashed line, missed objects a dotted line, and a word beside the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ...cams.drawing.fonts import font
from ...cams.drawing.overlay import SUPERSAMPLED, Colour
from ...cams.drawing.sheet import Row, contact_sheet, fitted
from ...pipelines.io.publish import write_png
from ..core.pictures import printable
from ..metrics.detections import Detections, GroundTruth
from ..metrics.voc_ap import judged

RIGHT, WRONG, MISSED = (0, 158, 115), (213, 94, 0), (0, 114, 178)
TRUTH, DIFFICULT = (240, 228, 66), (204, 121, 167)
DASHES = {WRONG: (9, 5), MISSED: (3, 3)}  # px drawn, px left out; the others are solid
LINE, TEXT, PAD = 2, 13, 2  # px of the finished picture
HEIGHT, WIDTH = 480, 720  # px, the largest a picture on a sheet can be


class Mark(NamedTuple):
    """One box xyxy in pixels of the picture, its colour, and what is written at it."""

    box: Sequence[float]
    colour: Colour
    text: str


class DetectionPicture(NamedTuple):
    """One image of a sheet."""

    name: str
    picture: np.ndarray
    """RGB uint8 [H, W, 3], the oriented original."""
    detections: Detections
    """On the CPU, in the original's pixels."""
    objects: GroundTruth
    """On the CPU."""


def save_detection_pictures(
    path: str | Path,
    pictures: Sequence[DetectionPicture],
    classes: Sequence[str],
    *,
    least_score: float = 0,
    overwrite: bool = False,
) -> None:
    """Write a PNG with a row for each image, one at least: its objects, then its detections and what they missed.

    Detections below the least score, which the title names, are ignored. Right, wrong and missed: see voc_ap. Raises
    InputError where the file cannot be written.
    """
    names = [printable(name) for name in classes]
    rows = [_row(_sure(one, least_score), names) for one in pictures]
    found = f"Detections of score {least_score:g} or more: right (IoU above 0.5), wrong, missed"
    write_png(path, contact_sheet([("Objects", 1), (found, 1)], rows, HEIGHT), overwrite=overwrite)


def object_marks(objects: GroundTruth, classes: Sequence[str]) -> list[Mark]:
    """The objects of an image, difficult ones in another colour."""
    return [
        Mark(box, DIFFICULT if hard else TRUTH, classes[label] + " difficult" * hard)
        for box, label, hard in zip(*(part.tolist() for part in objects[:3]), strict=True)
    ]


def detection_marks(detections: Detections, objects: GroundTruth, classes: Sequence[str]) -> list[Mark]:
    """The objects that are missed, then the detections by rising score: right, wrong, or of a difficult object."""
    right, ignored, missed = judged(detections, objects)
    marks = [
        Mark(box, MISSED, f"{classes[label]} missed")
        for box, label, lost in zip(objects.boxes.tolist(), objects.classes.tolist(), missed.tolist(), strict=True)
        if lost
    ]
    for number in detections.scores.argsort(stable=True).tolist():
        kind, colour = (
            ("", RIGHT) if right[number] else (" difficult", DIFFICULT) if ignored[number] else (" wrong", WRONG)
        )
        text = f"{classes[int(detections.classes[number])]} {detections.scores[number]:.2f}{kind}"
        marks.append(Mark(detections.boxes[number].tolist(), colour, text))
    return marks


def marked(picture: np.ndarray, marks: Sequence[Mark]) -> np.ndarray:
    """The picture RGB uint8 [H, W, 3] with its marks, later ones on top and all texts above the lines.

    A text stands over its box where there is room, else in it, and always inside the picture, cut where it is wider.
    """
    height, width = picture.shape[:2]
    layer = Image.new("RGBA", (width * SUPERSAMPLED, height * SUPERSAMPLED))
    lines = ImageDraw.Draw(layer)
    for mark in marks:
        _outline(lines, [edge * SUPERSAMPLED for edge in mark.box], mark.colour)
    smooth = layer.resize((width, height), Image.Resampling.BOX)
    drawn = Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), smooth).convert("RGB")
    texts = ImageDraw.Draw(drawn)
    for mark in marks:
        _write(texts, mark, drawn.size)
    return np.asarray(drawn)


def _outline(draw: ImageDraw.ImageDraw, box: Sequence[float], colour: Colour) -> None:
    """A rectangle in the enlarged layer, solid or broken, its line inside the box."""
    left, top, right, bottom = box
    thick, ink = LINE * SUPERSAMPLED, (*colour, 255)
    for begin, end in _dashes(left, right, colour):
        for y in (top, bottom - thick):
            draw.rectangle((begin, y, end, y + thick - 1), ink)
    for begin, end in _dashes(top, bottom, colour):
        for x in (left, right - thick):
            draw.rectangle((x, begin, x + thick - 1, end), ink)


def _dashes(begin: float, end: float, colour: Colour) -> list[tuple[float, float]]:
    """First and last pixel of what is drawn of a side."""
    if colour not in DASHES:
        return [(begin, max(begin, end - 1))]
    drawn, gap = (part * SUPERSAMPLED for part in DASHES[colour])
    starts = np.arange(begin, end, drawn + gap).tolist()
    return [(start, max(start, min(start + drawn, end) - 1)) for start in starts]


def _write(draw: ImageDraw.ImageDraw, mark: Mark, size: tuple[int, int]) -> None:
    """The text on a plate of the mark's colour."""
    text = font(TEXT, mark.text)
    wide, high = text.getlength(mark.text) + 2 * PAD, sum(text.getmetrics())
    left, top = mark.box[0], mark.box[1]
    x = max(0, min(left, size[0] - wide))
    y = max(0, min(top - high if top >= high else top, size[1] - high))
    draw.rectangle((x, y, x + wide, y + high), mark.colour)
    draw.text((x + PAD, y), mark.text, "black" if sum(mark.colour) > 330 else "white", text)


def _sure(one: DetectionPicture, least_score: float) -> DetectionPicture:
    kept = one.detections.scores >= least_score
    return one._replace(detections=Detections(*(part[kept] for part in one.detections)))


def _row(one: DetectionPicture, classes: Sequence[str]) -> Row:
    small = fitted(one.picture, HEIGHT, WIDTH)
    y, x = small.shape[0] / one.picture.shape[0], small.shape[1] / one.picture.shape[1]
    made = detection_marks(one.detections, one.objects, classes)
    sides = [
        marked(
            small, [mark._replace(box=[a * b for a, b in zip(mark.box, (x, y, x, y), strict=True)]) for mark in marks]
        )
        for marks in (object_marks(one.objects, classes), made)
    ]
    counts = [sum(mark.colour == colour for mark in made) for colour in (RIGHT, WRONG, MISSED)]
    details = "{} right, {} wrong, {} missed".format(*counts)
    return Row(name=printable(one.name), details=details, cells=sides)

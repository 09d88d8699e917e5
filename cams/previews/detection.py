"""The sheet of a detector's training: images with their boxes, and the tensors of three epochs with theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...pipelines.store.boxes import Boxes
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..drawing.mask_colours import legend, palette
from ..drawing.overlay import SUPERSAMPLED, THICK
from ..drawing.sheet import Row, contact_sheet, stacked
from .samples import as_pictures, batches_of, fitted_to_cell, image_of

EPOCHS = 3  # whose tensors are shown
CELL = 256  # pixels


def detection_sheet(part: Subset, *, statistics: Statistics, shorter_side: int, **options: Any) -> Image.Image:
    """A row for each sample, and a legend; shorter_side: of the tensors, px; options: those of the training loader."""
    from ...pipelines.detection import train_loader

    sides = {"shorter_side": shorter_side, "longer_side": 4 * shorter_side}
    batches = batches_of(train_loader, part, epochs=EPOCHS, statistics=statistics, **sides, **options)
    pictures = [as_pictures(batch["image"], statistics) for batch in batches]
    rows, labels = [], set()
    for index in range(len(part)):
        image, boxes = image_of(part, index, None), part.boxes(index)
        cells = [_shown(image, boxes)]
        for batch, of_epoch in zip(batches, pictures, strict=True):
            height, width = batch["size"][index].tolist()  # without the padding to the largest image of the batch
            moved = Boxes(*(batch[name][index].numpy() for name in ("boxes", "labels", "difficult")))
            cells.append(_shown(of_epoch[index, :height, :width], moved))
        rows.append(Row(name=part.names[index], details=_details(image, boxes, part.classes), cells=cells))
        labels |= set(boxes.labels.tolist())
    sheet = contact_sheet([("Image", 1), ("As the network gets it, in three epochs", EPOCHS)], rows, CELL)
    return stacked([sheet, legend(part.classes, sorted(labels), sheet.width, ignored=False)]) if labels else sheet


def boxes_drawn(picture: np.ndarray, boxes: Boxes) -> np.ndarray:
    """The picture, RGB uint8 [H, W, 3], with the outline of each box in the colour of its class.

    Boxes are in pixels of the picture. Outlines lie inside the boxes' edges; those of difficult objects are half
    transparent.
    """
    height, width = picture.shape[:2]
    layer = Image.new("RGBA", (width * SUPERSAMPLED, height * SUPERSAMPLED))
    draw = ImageDraw.Draw(layer)
    for (left, top, right, bottom), label, difficult in zip(*(part.tolist() for part in boxes[:3]), strict=True):
        corners = [left * SUPERSAMPLED, top * SUPERSAMPLED, right * SUPERSAMPLED - 1, bottom * SUPERSAMPLED - 1]
        if corners[2] < corners[0] or corners[3] < corners[1]:  # less than a quarter of a pixel
            continue
        colour = (*palette(label + 1)[label].tolist(), 128 if difficult else 255)
        draw.rectangle(corners, outline=colour, width=round(THICK * SUPERSAMPLED))
    lines = layer.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), lines).convert("RGB"))


def _shown(picture: np.ndarray, boxes: Boxes) -> np.ndarray:
    """The picture resized to a cell, with its boxes."""
    small = fitted_to_cell(picture, CELL)
    factors = [small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]] * 2
    return boxes_drawn(small, boxes._replace(xyxy=boxes.xyxy * factors))


def _details(image: np.ndarray, boxes: Boxes, classes: tuple[str, ...]) -> str:
    counts = np.bincount(boxes.labels, minlength=len(classes))
    objects = ", ".join(f"{count} {name}" for count, name in zip(counts, classes, strict=True) if count)
    return f"{image.shape[1]} x {image.shape[0]}   {objects or 'no objects'}"

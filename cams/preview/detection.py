"""A picture of what a detector's training will see: images with their boxes, and the tensors of three epochs with
theirs.

Everything shown comes from the loader itself, at its true size, with mean and deviation put back and clipped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ...pipelines.config import Appearance, DetectionAugmentation
from ...pipelines.images.pillow import decode
from ...pipelines.io.bounds import checked_seed, whole_number
from ...pipelines.io.publish import write_png
from ...pipelines.store.boxes import Boxes
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET, Statistics
from ...pipelines.store.subset import Subset
from ..drawing.mask_colours import legend, palette
from ..drawing.overlay import SUPERSAMPLED, THICK
from ..drawing.sheet import Row, contact_sheet, fitted, stacked

EPOCHS = 3  # whose tensors are shown
CELL, PICTURE_ASPECT = 256, 4 / 3  # pixels
MAX_PIXELS = 1 << 30  # the store has been built, so its images are wanted


def preview_boxes(
    store: ImageStore,
    png: str | Path,
    *,
    count: int = 6,
    shorter_side: int = 224,
    seed: int = 0,
    how: Appearance,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw a contact sheet of `count` images at random, the tensors of 3 epochs, and a legend of their boxes.

    shorter_side: of the tensors, px. how: colours, flip and kernels of the training. Returns a report that JSON can
    hold: `file`, `height`, `width`, `images` (names). Raises InputError for a count below 1, or a file that cannot be
    written.
    """
    whole_number("count", count, most=10_000_000)
    seed = checked_seed(seed)
    part = Subset(store, np.sort(np.random.default_rng(seed).permutation(len(store))[:count]))
    columns = _epochs(part, shorter_side, seed, how)
    rows = [_row(part, index, [column[index] for column in columns]) for index in range(len(part))]
    sheet = contact_sheet([("Image", 1), ("As the network gets it, in three epochs", EPOCHS)], rows, CELL)
    shown = np.unique(np.concatenate([part.boxes(index).labels for index in range(len(part))])).tolist()
    if shown:
        sheet = stacked([sheet, legend(part.classes, shown, sheet.width, ignored=False)])
    write_png(png, sheet, overwrite=overwrite)
    return {"file": str(png), "height": sheet.height, "width": sheet.width, "images": list(part.names)}


def boxes_drawn(picture: np.ndarray, boxes: Boxes) -> np.ndarray:
    """RGB uint8 [H, W, 3] with the outline of each box, in pixels of the picture, inside its edges, in its class's
    colour; difficult ones half transparent.
    """
    height, width = picture.shape[:2]
    layer = Image.new("RGBA", (width * SUPERSAMPLED, height * SUPERSAMPLED))
    draw = ImageDraw.Draw(layer)
    for (left, top, right, bottom), label, difficult in zip(*(part.tolist() for part in boxes), strict=True):
        corners = [left * SUPERSAMPLED, top * SUPERSAMPLED, right * SUPERSAMPLED - 1, bottom * SUPERSAMPLED - 1]
        if corners[2] < corners[0] or corners[3] < corners[1]:  # less than a quarter of a pixel
            continue
        colour = (*palette(label + 1)[label].tolist(), 128 if difficult else 255)
        draw.rectangle(corners, outline=colour, width=round(THICK * SUPERSAMPLED))
    lines = layer.resize((width, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), lines).convert("RGB"))


def _epochs(part: Subset, shorter_side: int, seed: int, how: Appearance) -> list[list[np.ndarray]]:
    """Of each epoch, each image as a picture with its boxes."""
    from ...pipelines.detection import train_loader

    augmentation = DetectionAugmentation(colour=how.colour, flip=how.flip, interpolations=how.interpolations)
    statistics = part.statistics or IMAGENET
    loader = train_loader(
        part,
        batch_size=len(part),
        shorter_side=shorter_side,
        longer_side=4 * shorter_side,
        seed=seed,
        augmentation=augmentation,
        statistics=statistics,
        order="sequential",
        device="cpu",
    )
    with closing(loader):
        return [_pictures(batch, statistics) for _ in range(EPOCHS) for batch in loader]


def _pictures(batch: dict[str, Any], statistics: Statistics) -> list[np.ndarray]:
    pictures = []
    for place, (height, width) in enumerate(batch["size"].tolist()):
        tensor = batch["image"][place, :, :height, :width].numpy().transpose(1, 2, 0)
        levels = np.rint((tensor * statistics.std + statistics.mean).clip(0, 1) * 255).astype(np.uint8)
        boxes = Boxes(*(batch[name][place].numpy() for name in ("boxes", "labels", "difficult")))
        pictures.append(_shown(levels, boxes))
    return pictures


def _shown(picture: np.ndarray, boxes: Boxes) -> np.ndarray:
    """Both scaled to their place in the sheet."""
    small = fitted(picture, CELL, round(CELL * PICTURE_ASPECT))
    factors = [small.shape[1] / picture.shape[1], small.shape[0] / picture.shape[0]] * 2
    return boxes_drawn(small, boxes._replace(xyxy=boxes.xyxy * factors))


def _row(part: Subset, index: int, tensors: Sequence[np.ndarray]) -> Row:
    picture = decode(bytes(part.read([index])[0]), MAX_PIXELS)
    boxes = part.boxes(index)
    counts = np.bincount(boxes.labels, minlength=len(part.classes))
    held = ", ".join(f"{count} {name}" for count, name in zip(counts, part.classes, strict=True) if count)
    return Row(
        name=part.names[index],
        details=f"{picture.shape[1]} x {picture.shape[0]}   {held or 'no objects'}",
        cells=[_shown(picture, boxes), *tensors],
    )

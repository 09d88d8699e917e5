"""The sheet of a training on crops, of classification or of scene parsing: images, heatmaps, windows, and tensors.

In scene parsing masks are shown too, over images and tensors; padding is hatched like all ignored pixels, and a legend
names the colours of the classes. Where images have boxes, as in object localization, these are drawn on the images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...pipelines.store.reader import check_masks_of_classes
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..drawing.mask_colours import legend, mask_overlay
from ..drawing.overlay import heatmap_overlay, windows_drawn
from ..drawing.sheet import Row, contact_sheet, framed, stacked
from .detection import boxes_drawn
from .samples import CELL, EPOCHS, MARKED, as_pictures, batches_of, fitted_to_cell, image_of


def crops_sheet(
    part: Subset, heatmaps: list[np.ndarray] | None, *, statistics: Statistics, **options: Any
) -> Image.Image:
    """A row for each sample; options: those of the task's training loader."""
    from ...pipelines import classification, parsing

    of_pixels = part.ignore_index is not None
    if of_pixels:
        check_masks_of_classes(part)
    loader = (parsing if of_pixels else classification).train_loader
    batches = batches_of(loader, part, heatmaps=heatmaps, statistics=statistics, **options)
    marked = batches[-len(MARKED) :]
    pictures = [as_pictures(batch["image"], statistics) for batch in marked]
    rows, values, classes = [], set(), len(part.classes)
    for index in range(len(part)):
        picture, (height, width) = image_of(part, index), part.sizes[index].tolist()
        scale = np.array([picture.shape[0] / height, picture.shape[1] / width] * 2)
        boxes = part.boxes(index) if part.has_boxes else None
        image = picture if boxes is None else boxes_drawn(picture, boxes._replace(xyxy=boxes.xyxy * scale[::-1]))
        cells, tensors = [image], [fitted_to_cell(of_epoch[index]) for of_epoch in pictures]
        if of_pixels:
            mask, masks = part.mask(index), [batch["mask"][index].numpy().astype(np.uint8) for batch in marked]
            cells.append(mask_overlay(picture, mask, classes))
            tensors = [mask_overlay(*both, classes) for both in zip(tensors, masks, strict=True)]
            values |= set(np.unique(mask).tolist())
        if heatmaps is not None:
            cells.append(heatmap_overlay(picture, heatmaps[index]))
        windows = np.stack([batch["plan"]["window"][index] for batch in batches])
        cells.append(windows_drawn(picture, windows * scale, (None,) * (len(windows) - len(MARKED)) + MARKED))
        cells += [framed(tensor, colour) for tensor, colour in zip(tensors, MARKED, strict=True)]
        name, details = _caption(part, index)
        rows.append(Row(name=name, details=f"{details}{width} x {height}", cells=cells))
    titles = [("Image", 1)] + [("Mask", 1)] * of_pixels + [("Heatmap", 1)] * (heatmaps is not None)
    titles += [(f"Windows of {EPOCHS} epochs", 1), ("The marked windows, as the network gets them", len(MARKED))]
    sheet = contact_sheet(titles, rows, CELL)
    shown = sorted(value for value in values if value < classes)
    return stacked([sheet, legend(part.classes, shown, sheet.width)]) if of_pixels else sheet


def _caption(part: Subset, index: int) -> tuple[str, str]:
    """The class of a sample, or its folder, and what stands before its size: its name, where that is no caption yet."""
    label, (folder, _, name) = int(part.labels[index]), part.names[index].rpartition("/")
    if part.ignore_index is not None:
        return part.names[index], ""
    return part.classes[label] if label >= 0 else folder, f"{name}   "

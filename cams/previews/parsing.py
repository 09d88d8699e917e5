"""The sheet of a training of scene parsing: images, masks, heatmaps, windows, and tensors under their masks.

Padding is hatched like all ignored pixels. A legend names the colours of the classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...pipelines.store.reader import check_masks_of_classes
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..drawing.mask_colours import legend, mask_overlay
from ..drawing.sheet import Row, contact_sheet, stacked
from .samples import CELL, MARKED, as_pictures, batches_of, crop_cells, crop_titles, fitted_to_cell, image_of


def parsing_sheet(
    part: Subset, heatmaps: list[np.ndarray] | None, *, statistics: Statistics, **options: Any
) -> Image.Image:
    """A row for each sample; options: those of the training loader. InputError for a store without masks of classes."""
    from ...pipelines.parsing import train_loader

    check_masks_of_classes(part)
    batches = batches_of(train_loader, part, heatmaps=heatmaps, statistics=statistics, **options)
    marked = [
        (as_pictures(batch["image"], statistics), batch["mask"].numpy().astype(np.uint8))
        for batch in batches[-len(MARKED) :]
    ]
    rows, values, classes = [], set(), len(part.classes)
    for index in range(len(part)):
        picture, mask, (height, width) = image_of(part, index), part.mask(index), part.sizes[index].tolist()
        tensors = [mask_overlay(fitted_to_cell(images[index]), masks[index], classes) for images, masks in marked]
        crops = crop_cells(part, index, picture, heatmaps, batches, tensors)
        cells = [picture, mask_overlay(picture, mask, classes), *crops]
        rows.append(Row(name=part.names[index], details=f"{width} x {height}", cells=cells))
        values |= set(np.unique(mask).tolist())
    sheet = contact_sheet([("Image", 1), ("Mask", 1), *crop_titles(heatmaps)], rows, CELL)
    return stacked([sheet, legend(part.classes, sorted(value for value in values if value < classes), sheet.width)])

"""The sheet of a classifier's training: images, their heatmaps, the windows of 12 epochs, and tensors of three."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..drawing.sheet import Row, contact_sheet, fitted
from .samples import CELL, MARKED, as_pictures, batches_of, crop_cells, crop_titles, image_of


def classification_sheet(
    part: Subset, heatmaps: list[np.ndarray] | None, *, statistics: Statistics, **options: Any
) -> Image.Image:
    """A row for each sample; options: those of the training loader."""
    from ...pipelines.classification import train_loader

    batches = batches_of(train_loader, part, heatmaps=heatmaps, statistics=statistics, **options)
    pictures = [as_pictures(batch["image"], statistics) for batch in batches[-len(MARKED) :]]
    rows = []
    for index in range(len(part)):
        tensors = [fitted(of_epoch[index], CELL, CELL) for of_epoch in pictures]
        picture, (height, width) = image_of(part, index), part.sizes[index].tolist()
        label, (folder, _, name) = int(part.labels[index]), part.names[index].rpartition("/")
        rows.append(
            Row(
                name=part.classes[label] if label >= 0 else folder,
                details=f"{name}   {width} x {height}",
                cells=[picture, *crop_cells(part, index, picture, heatmaps, batches, tensors)],
            )
        )
    return contact_sheet([("Image", 1), *crop_titles(heatmaps)], rows, CELL)

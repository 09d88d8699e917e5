"""A picture of what training of scene parsing will see: images, their masks, windows, and tensors under their masks.

As in preview, everything shown comes from the loader itself: the windows are the plan's rows, and tensors and masks are
a batch's, so that what is out of line in the sheet is out of line in training. Padding is hatched like all that is
ignored.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ...pipelines.config import ParsingAugmentation
from ...pipelines.store.heatmaps import HeatmapStore
from ...pipelines.store.reader import ImageStore, check_masks_of_classes
from ...pipelines.store.statistics import IMAGENET, Statistics
from ...pipelines.store.subset import Subset
from ..drawing.mask_colours import legend, mask_overlay
from ..drawing.overlay import heatmap_overlay, windows_drawn
from ..drawing.sheet import Row, contact_sheet, fitted, framed, stacked
from .classification import (
    CELL,
    EPOCHS,
    MARKED,
    MARKS,
    PICTURE_ASPECT,
    as_pictures,
    chosen_samples,
    shown_picture,
    written,
)


def preview_parsing(
    store: ImageStore,
    png: str | Path,
    *,
    heatmaps: str | Path | HeatmapStore | None = None,
    count: int = 6,
    size: int | tuple[int, int] = 473,
    seed: int = 0,
    augmentation: ParsingAugmentation | None = None,
    statistics: Statistics | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw a contact sheet of `count` images with 12 epochs of windows, 3 of tensors, and a legend of their classes.

    size: of the tensors, (height, width) or the side of a square, px. The rest, the report and what is raised are those
    of preview.preview; InputError also for a store without masks of classes.
    """
    check_masks_of_classes(store)
    part, maps = chosen_samples(store, heatmaps, count, seed)
    statistics = statistics or store.statistics or IMAGENET
    loading = {"size": size, "seed": seed, "augmentation": augmentation, "threads": threads}
    windows, tensors, masks = _epochs(part, maps, statistics, loading)
    rows = [
        _row(part, i, None if maps is None else maps[i], windows[:, i], tensors[:, i], masks[:, i])
        for i in range(len(part))
    ]
    groups = [("Image", 1), ("Mask", 1), *[("Heatmap", 1)] * (maps is not None), (f"Windows of {EPOCHS} epochs", 1)]
    sheet = contact_sheet([*groups, ("The marked windows, as the network gets them", len(MARKED))], rows, CELL)
    values = np.unique(np.concatenate([np.unique(part.mask(index)) for index in range(len(part))]))
    shown = values[values < len(part.classes)]
    return written(stacked([sheet, legend(part.classes, shown, sheet.width)]), png, part, overwrite=overwrite)


def _epochs(
    part: Subset, maps: list[np.ndarray] | None, statistics: Statistics, loading: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows int [epochs, count, 4] and, of the last epochs, tensors as pictures uint8 [shown, count, H, W, 3] and
    masks uint8 [shown, count, H, W].
    """
    from ...pipelines.parsing import train_loader

    options = {"batch_size": len(part), "order": "sequential", "device": "cpu", **loading}
    with closing(train_loader(part, heatmaps=maps, statistics=statistics, **options)) as loader:
        batches = [batch for _ in range(EPOCHS) for batch in loader]
    last = batches[-len(MARKED) :]
    return (
        np.stack([batch["plan"]["window"] for batch in batches]),
        np.stack([as_pictures(batch["image"], statistics) for batch in last]),
        np.stack([batch["mask"].numpy().astype(np.uint8) for batch in last]),
    )


def _row(
    part: Subset, index: int, heatmap: np.ndarray | None, windows: np.ndarray, tensors: np.ndarray, masks: np.ndarray
) -> Row:
    """One image's row; the windows whose tensors are shown have the colours of the tensors' frames."""
    picture, scale = shown_picture(part, index)
    classes, (height, width) = len(part.classes), part.sizes[index].tolist()
    shown = [fitted(tensor, CELL, round(CELL * PICTURE_ASPECT)) for tensor in tensors]
    return Row(
        name=part.names[index],
        details=f"{width} x {height}",
        cells=[
            picture,
            mask_overlay(picture, part.mask(index), classes),
            *([] if heatmap is None else [heatmap_overlay(picture, heatmap)]),
            windows_drawn(picture, windows * scale, MARKS),
            *(
                framed(mask_overlay(tensor, mask, classes), colour)
                for tensor, mask, colour in zip(shown, masks, MARKED, strict=True)
            ),
        ],
    )

"""`preview`: a picture of what training on a store will see.

The skeleton of all previews is here: samples are chosen, the task's sheet is drawn, and the picture is written. What is
drawn is in one file for each task.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...pipelines.config import Augmentation, Crop, DetectionAugmentation, ParsingAugmentation, ParsingCrop
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import checked_seed, whole_number
from ...pipelines.io.publish import write_png
from ...pipelines.store.heatmaps import HeatmapStore
from ...pipelines.store.measure import opened_statistics
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from .crops import crops_sheet
from .detection import detection_sheet


def preview(
    store: ImageStore,
    png: str | Path,
    *,
    heatmaps: str | Path | HeatmapStore | None = None,
    count: int = 6,
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    parsing_crop: ParsingCrop | None = None,
    statistics: Statistics | str | Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw a contact sheet of some images, and of what training makes of them.

    A store of classified images or of scene parsing is shown with the windows of 12 epochs and the tensors of three; in
    scene parsing with masks, too. A store of objects in unclassified images is shown with its boxes and the tensors of
    three epochs.

    Args:
        png: the file to write.
        heatmaps: a heatmap store of these images, which windows then follow; not for a store of objects.
        count: number of images, spread over the classes; all, if there are fewer.
        size: side of the tensors in pixels; in scene parsing also (height, width); for objects the shorter side. None:
            224, in scene parsing 473.
        seed: chooses the images and keys the plan.
        augmentation: as in training; its crop is for classified images only.
        parsing_crop: how windows of scene parsing are drawn.
        statistics: mean and deviation, or a file of them; None for the store's, or else ImageNet's.
        overwrite: replace a file that exists.

    Returns:
        A report that JSON can hold: `file`, `height`, `width`, `images` (their names).

    Raises:
        InputError: options of another task than the store's, heatmaps of other images, a count below 1, or a file that
            cannot be written.
    """
    augmentation = augmentation or Augmentation()
    appearance = {name: getattr(augmentation, name) for name in ("colour", "flip", "interpolations")}
    options = {"seed": checked_seed(seed), "statistics": opened_statistics(statistics, store), "threads": threads}
    of_pixels = store.ignore_index is not None
    of_objects = not of_pixels and store.has_boxes and bool((store.labels < 0).all())
    if of_pixels and augmentation.crop != Crop():
        raise InputError(f"{store.path} is a store for scene parsing; give parsing_crop in place of a crop")
    if not of_pixels and (parsing_crop not in (None, ParsingCrop()) or isinstance(size, tuple)):
        raise InputError(f"{store.path} is no store for scene parsing; leave out parsing_crop and a size of two sides")
    if of_objects and heatmaps is not None:
        raise InputError(f"{store.path} has objects, whose crops no heatmap guides; heatmaps must be left out")
    part, maps = _chosen(store, heatmaps, count, seed)
    side: Any = (473 if of_pixels else 224) if size is None else size
    if of_objects:
        boxes = DetectionAugmentation(**appearance)
        sheet = detection_sheet(part, shorter_side=side, augmentation=boxes, **options)
    else:
        crops = ParsingAugmentation(crop=parsing_crop or ParsingCrop(), **appearance) if of_pixels else augmentation
        sheet = crops_sheet(part, maps, size=side, augmentation=crops, **options)
    write_png(png, sheet, overwrite=overwrite)
    return {"file": str(png), "height": sheet.height, "width": sheet.width, "images": list(part.names)}


def _chosen(
    store: ImageStore, heatmaps: str | Path | HeatmapStore | None, count: int, seed: int
) -> tuple[Subset, list[np.ndarray] | None]:
    """The samples to show, and their heatmaps if there are any."""
    whole_number("count", count, most=10_000_000)
    maps = HeatmapStore(heatmaps) if isinstance(heatmaps, (str, Path)) else heatmaps
    if maps is not None:
        maps.check(store)
    indices = spread_over_classes(store.labels, count, seed)
    return Subset(store, indices), None if maps is None else [maps[index] for index in indices]


def spread_over_classes(labels: np.ndarray, count: int, seed: int) -> list[int]:
    """`count` indices, or all: one of each class at random before a second of any, in order of class."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    first = np.searchsorted(labels[by_class], labels[by_class])
    turn = np.arange(len(labels)) - first  # 0 for the first of its class, 1 for the second, ...
    return sorted(by_class[np.argsort(turn, kind="stable")][:count].tolist(), key=lambda i: (labels[i], i))

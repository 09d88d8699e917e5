"""A picture of what training will see: images, their heatmaps, the windows of several epochs, the tensors that come
out.

Everything shown comes from the loader itself: the windows are the plan's rows, the tensors are a batch's, with mean and
deviation put back and clipped to [0, 1].
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pipelines.config import Augmentation
from ...pipelines.images.pillow import decode
from ...pipelines.io.bounds import checked_seed, whole_number
from ...pipelines.io.publish import write_png
from ...pipelines.store.heatmaps import HeatmapStore
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET, Statistics
from ...pipelines.store.subset import Subset
from ..drawing.overlay import Colour, heatmap_overlay, windows_drawn
from ..drawing.sheet import Row, contact_sheet, fitted, framed

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

EPOCHS = 12  # windows drawn on each image
MARKED: tuple[Colour, ...] = ((255, 99, 80), (64, 170, 255), (255, 196, 46))  # those whose tensors are shown
MARKS: tuple[Colour | None, ...] = (None,) * (EPOCHS - len(MARKED)) + MARKED  # those of the last epochs
CELL, PICTURE_ASPECT = 224, 4 / 3  # pixels; most photographs fill a picture's place
MAX_PIXELS = 1 << 30  # the store has been built, so its images are wanted


def preview(
    store: ImageStore,
    png: str | Path,
    *,
    heatmaps: str | Path | HeatmapStore | None = None,
    count: int = 8,
    size: int = 224,
    seed: int = 0,
    augmentation: Augmentation | None = None,
    statistics: Statistics | None = None,
    threads: int | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Draw a contact sheet of `count` images, spread over the classes, with 12 epochs of windows and 3 of tensors.

    Args:
        png: the file to write, replaced where it exists.
        heatmaps: a heatmap store of these images; without one, windows are drawn plainly.
        size: side of the tensors in pixels.
        seed: chooses the images and keys the plan.
        statistics: None: the store's own, or ImageNet's.

    Returns:
        A report that JSON can hold: `file`, `height`, `width`, `images` (names).

    Raises:
        InputError: heatmaps of other images, a count below 1, or a file that cannot be written.
    """
    part, chosen_maps = chosen_samples(store, heatmaps, count, seed)
    statistics = statistics or store.statistics or IMAGENET
    windows, tensors = _epochs(
        part,
        chosen_maps,
        statistics,
        {"size": size, "seed": seed, "augmentation": augmentation or Augmentation(), "threads": threads},
    )
    rows = [
        _row(part, i, None if chosen_maps is None else chosen_maps[i], windows[:, i], tensors[:, i])
        for i in range(len(part))
    ]
    windows_title, tensors_title = f"Windows of {EPOCHS} epochs", "The marked windows, as the network gets them"
    groups = [
        ("Image", 1),
        *[("Heatmap", 1)] * (chosen_maps is not None),
        (windows_title, 1),
        (tensors_title, len(MARKED)),
    ]
    return written(contact_sheet(groups, rows, CELL), png, part, overwrite=overwrite)


def chosen_samples(
    store: ImageStore, heatmaps: str | Path | HeatmapStore | None, count: int, seed: int
) -> tuple[Subset, list[np.ndarray] | None]:
    """The samples to be shown, and their heatmaps where there are any; InputError for what cannot be."""
    whole_number("count", count, most=10_000_000)
    seed = checked_seed(seed)
    maps = HeatmapStore(heatmaps) if isinstance(heatmaps, (str, Path)) else heatmaps
    if maps is not None:
        maps.check(store)
    chosen = spread_over_classes(store.labels, count, seed)
    return Subset(store, chosen), None if maps is None else [maps[index] for index in chosen]


def written(sheet: Image.Image, png: str | Path, part: Subset, *, overwrite: bool) -> dict[str, Any]:
    """Write the sheet and report it."""
    write_png(png, sheet, overwrite=overwrite)
    return {"file": str(png), "height": sheet.height, "width": sheet.width, "images": list(part.names)}


def spread_over_classes(labels: np.ndarray, count: int, seed: int) -> list[int]:
    """`count` indices, or all: one of each class at random before a second of any, in order of class."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    first = np.searchsorted(labels[by_class], labels[by_class])
    turn = np.arange(len(labels)) - first  # 0 for the first of its class, 1 for the second, ...
    return sorted(by_class[np.argsort(turn, kind="stable")][:count].tolist(), key=lambda i: (labels[i], i))


def _epochs(
    part: Subset, maps: list[np.ndarray] | None, statistics: Statistics, loading: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Windows int [epochs, count, 4] and, of the last epochs, tensors as pictures uint8 [shown, count, size, size,
    3].
    """
    from ...pipelines.classification import train_loader

    options = {"batch_size": len(part), "order": "sequential", "device": "cpu", **loading}
    with closing(train_loader(part, heatmaps=maps, statistics=statistics, **options)) as loader:
        batches = [batch for _ in range(EPOCHS) for batch in loader]
    windows = np.stack([batch["plan"]["window"] for batch in batches])
    return windows, np.stack([as_pictures(batch["image"], statistics) for batch in batches[-len(MARKED) :]])


def as_pictures(tensors: Tensor, statistics: Statistics) -> np.ndarray:
    """Normalised float [B, 3, H, W] -> RGB uint8 [B, H, W, 3]."""
    pixels = tensors.float().numpy().transpose(0, 2, 3, 1) * statistics.std + statistics.mean
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)


def _row(part: Subset, index: int, heatmap: np.ndarray | None, windows: np.ndarray, tensors: np.ndarray) -> Row:
    """One image's row; the windows whose tensors are shown have the colours of the tensors' frames."""
    picture, scale = shown_picture(part, index)
    height, width = part.sizes[index].tolist()
    label, folder, name = int(part.labels[index]), *part.names[index].rpartition("/")[::2]
    return Row(
        name=part.classes[label] if label >= 0 else folder,
        details=f"{name}   {width} x {height}",
        cells=[
            picture,
            *([] if heatmap is None else [heatmap_overlay(picture, heatmap)]),
            windows_drawn(picture, windows * scale, MARKS),
            *(framed(fitted(tensor, CELL, CELL), colour) for tensor, colour in zip(tensors, MARKED, strict=True)),
        ],
    )


def shown_picture(part: Subset, index: int) -> tuple[np.ndarray, np.ndarray]:
    """An image shrunk or enlarged to its place, RGB uint8, and float64 [4]: what windows are multiplied by there."""
    full = decode(bytes(part.read([index])[0]), MAX_PIXELS)
    picture = fitted(full, CELL, round(CELL * PICTURE_ASPECT))
    return picture, np.array([picture.shape[0] / full.shape[0], picture.shape[1] / full.shape[1]] * 2)

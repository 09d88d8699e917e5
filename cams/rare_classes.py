"""Heatmaps of where rare classes are, from the masks of a parsing store: what guides its crops.

The weight of a pixel is 1 / frequency of its class over the whole store, that of an ignored pixel 0. A cell has the
mean of its pixels, so a map gives each class of an image its pixels times its weight, to within a cell of 1/32 of the
image's sides: far finer than a crop.

A map's 8 bits are relative to its own largest cell, and classes may be a thousand times rarer than others. Rounded each
by itself, dim cells would all err alike, or vanish. So what rounding takes from a cell goes to the next in reading
order: any run of cells has its true sum to within 1, where the largest cell has 255. What is lost is where in a dim
region its few counts lie. Over CamVid's maps the share of draws that fall to another class than they should is 0.02 %
(at most 0.07 % in a map), instead of 0.5 % (2 %).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..pipelines.io.parallel import ordered_map
from ..pipelines.io.progress import Track, silent
from ..pipelines.store.measure import ClassFrequencies, class_frequencies
from ..pipelines.store.reader import ImageStore
from .from_annotations import GRID, pixel_means
from .generate import MAPS_A_COMMIT, check_grid, fill
from .store.writer import HeatmapWriter


def from_rare_classes(
    store: ImageStore,
    path: str | Path,
    *,
    grid: int = GRID,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of grid x grid cells; empty for an image that is ignored as a whole. Returns what `generate` does.

    Raises InputError for a store without masks of classes, BadSampleError for a damaged mask.
    """
    check_grid(grid)
    weight_of = value_weights(class_frequencies(store, workers=workers, progress=progress))
    method = f"rare classes, 1 / frequency, {grid} x {grid} cells"
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=method, overwrite=overwrite)

    def heatmap(index: int) -> np.ndarray:
        return rare_class_heatmap(store.mask(index), weight_of, grid)

    return fill(writer, lambda missing: ordered_map(heatmap, missing.tolist(), workers), MAPS_A_COMMIT, progress)


def value_weights(frequencies: ClassFrequencies) -> np.ndarray:
    """float64 [256], of each mask value: 1 / share of its class among all labelled pixels, 0 where there are none."""
    weights = np.zeros(256)
    (occurs,) = np.nonzero(frequencies.pixels)
    weights[occurs] = frequencies.pixels.sum() / frequencies.pixels[occurs]
    return weights


def rare_class_heatmap(mask: np.ndarray, weight_of: np.ndarray, grid: int = GRID) -> np.ndarray:
    """uint8 [grid, grid]: the mean weight of each cell's pixels, as said above; all zero where no pixel has any.

    mask: uint8 [H, W]; weight_of: float64 [256], of each value.
    """
    means = pixel_means(weight_of[mask], grid)
    if not means.any():
        return np.zeros((grid, grid), np.uint8)
    sums = np.floor(np.cumsum(means * (255 / means.max())) + 0.5)
    return np.diff(sums, prepend=0).clip(0, 255).astype(np.uint8).reshape(means.shape)

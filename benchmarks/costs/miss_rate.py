"""How often a training window misses the object, from the true masks: what guided crops are for, without training.

A window misses when it holds less than 10 % of the object's pixels and the object covers less than 5 % of the window.
Only the plan is needed: no image is decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ...pipelines.config import Augmentation
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import checked_seed
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.terminal import print_records
from ...pipelines.plan.classification import TrainPlanner
from ...pipelines.store.heatmaps import Heatmaps
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET

OBJECT_PER_CENT, WINDOW_PER_CENT = 10, 5


def miss_rate(
    store: ImageStore,
    *,
    heatmaps: Heatmaps | None = None,
    foreground: Sequence[int] | None = None,
    augmentation: Augmentation | None = None,
    size: int = 224,
    epochs: int = 20,
    seed: int = 0,
    progress: Track = silent,
) -> dict[str, Any]:
    """Shares of missing windows over `epochs` epochs: {"plain", "sda" where heatmaps are given, "windows", "images"}.

    foreground: mask values that are the object, by default all but 0 and 255. Images without such a pixel are left out.
    Raises InputError for a store without masks, or without any object.
    """
    if not store.has_masks:
        raise InputError(f"{store.path} has no masks to measure misses with; build it with masks")
    if epochs < 1:
        raise InputError(f"epochs must be at least 1, got {epochs}")
    seed = checked_seed(seed)
    chosen = {"plain": None} if heatmaps is None else {"plain": None, "sda": heatmaps}
    augmentation = augmentation or Augmentation()
    windows = {
        name: np.stack([_windows(store, maps, augmentation, size, seed, epoch) for epoch in range(epochs)], 1)
        for name, maps in chosen.items()
    }
    misses, images = dict.fromkeys(chosen, 0), 0
    for index in progress(range(len(store)), len(store), "measuring misses"):
        mask = _object(store.mask(index), foreground)
        if not mask.any():
            continue
        images += 1
        for name in chosen:
            misses[name] += int(missing(mask, windows[name][index]).sum())
    if images == 0:
        raise InputError(f"no mask of {store.path} shows an object; name its values with --foreground")
    rates = {name: count / (images * epochs) for name, count in misses.items()}
    return {**rates, "windows": images * epochs, "images": images}


def missing(mask: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """bool [N]: which windows (int [N, 4]: y, x, height, width) miss the object of a bool mask [H, W]."""
    summed = np.asarray(cv2.integral(mask.astype(np.uint8)))  # int32 [H + 1, W + 1]
    y, x, height, width = windows.T
    inside = summed[y + height, x + width] - summed[y, x + width] - summed[y + height, x] + summed[y, x]
    hundredfold = 100 * inside.astype(np.int64)  # whole numbers, so that a share of exactly the bound is no miss
    return (hundredfold < OBJECT_PER_CENT * int(summed[-1, -1])) & (hundredfold < WINDOW_PER_CENT * height * width)


def _windows(
    store: ImageStore, heatmaps: Heatmaps | None, augmentation: Augmentation, size: int, seed: int, epoch: int
) -> np.ndarray:
    """int32 [images, 4], in store order."""
    planner = TrainPlanner(
        store=store, heatmaps=heatmaps, augmentation=augmentation, statistics=IMAGENET, sizes=(size,), seed=seed
    )
    return planner.rows(epoch, 0, np.arange(len(store)))["window"]


def _object(mask: np.ndarray, foreground: Sequence[int] | None) -> np.ndarray:
    return (mask != 0) & (mask != 255) if foreground is None else np.isin(mask, foreground)


def print_miss_rate(rates: dict[str, Any]) -> None:
    """The rates of `miss_rate` as a table on stderr."""
    rows = [{"crops": name, "rate": rates[name]} for name in ("plain", "sda") if name in rates]
    title = f"windows that miss the object, of {rates['windows']:,}"
    print_records(title, {"crops": "{crops}", "miss rate": "{rate:.2%}"}, rows)

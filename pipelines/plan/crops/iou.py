"""Windows that hold enough of an object: the crops of SSD (Liu et al., ECCV 2016, section 2.2).

A least overlap (IoU) is drawn from a list, then windows of random height, width and offset are tried until one has a
box centred in it that overlaps the window by as much. Where none of TRIALS does, and in images without objects, the
window is the whole image (our choice: SSD draws again without end).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...config import IouCrop
from ...store.boxes import centred_in, iou

TRIALS = 40  # torchvision's number
WORDS = 4 + 4 * TRIALS  # crop or not, least overlap, two unused; then height, width, y, x of each trial


def draw(crop: IouCrop, image_sizes: np.ndarray, boxes: Sequence[np.ndarray], u: np.ndarray) -> np.ndarray:
    """int64 [N, 4]: windows y, x, height, width.

    image_sizes: int [N, 2], height and width; boxes: xyxy [K, 4] of each image; u: float64 [N, WORDS] in [0, 1).
    """
    windows = np.concatenate([np.zeros_like(image_sizes), image_sizes], 1).astype(np.int64)
    for row in np.flatnonzero(u[:, 0] < crop.probability).tolist():
        if len(boxes[row]):
            least = crop.least_ious[int(u[row, 1] * len(crop.least_ious))]
            tried = _tried(crop, image_sizes[row], u[row, 4:].reshape(TRIALS, 4))
            fits = _fits(crop, tried, boxes[row], least)
            if fits.any():
                windows[row] = tried[fits.argmax()]
    return windows


def _tried(crop: IouCrop, size: np.ndarray, u: np.ndarray) -> np.ndarray:
    low, high = crop.side
    sides = np.maximum(np.floor((low + u[:, :2] * (high - low)) * size + 0.5), 1).astype(np.int64)
    return np.concatenate([np.floor(u[:, 2:] * (size - sides + 1)).astype(np.int64), sides], 1)


def _fits(crop: IouCrop, windows: np.ndarray, xyxy: np.ndarray, least: float) -> np.ndarray:
    """bool [T]: the aspect ratio is within its range, and a box centred in the window overlaps it enough."""
    aspect = windows[:, 3] / windows[:, 2]
    enough = centred_in(xyxy, windows) & (iou(xyxy, windows) >= least)
    return (crop.aspect[0] <= aspect) & (aspect <= crop.aspect[1]) & enough.any(1)

"""Windows of scene parsing: the image scaled by a factor, then cropped to the output, or padded where it is smaller.

Each side is treated by itself, in whole pixels. Where the scaled side, round(side * factor), is longer than the output,
a window of round(output / factor) pixels of the original fills the output; else the whole side fills round(side *
factor) of it, and the rest is padding. So the window never leaves the image, one affine map leads from the output to
the original for image and mask, and only the factor is rounded, by half a pixel a side at most.
"""

from __future__ import annotations

import numpy as np

from .random import rounded

WORDS = 4  # scale, offset y, offset x, one unused


def factors(
    image_sizes: np.ndarray,
    shorter_side: int | np.ndarray | None,
    scale: float | np.ndarray = 1.0,
    longer_side: float = np.inf,
) -> np.ndarray:
    """float64 [N, 1]: the factors by which images are scaled, so that a `scale` of 1 gives them that shorter side.

    image_sizes: int [N, 2], height and width. shorter_side: int, int [N] or [1]; None: a scale of 1 leaves the image as
    it is. A factor is less where the longer side would exceed `longer_side`.
    """
    scale = np.broadcast_to(np.asarray(scale, np.float64), len(image_sizes))
    wanted = scale if shorter_side is None else scale * shorter_side / image_sizes.min(1)
    return np.minimum(wanted, longer_side / image_sizes.max(1))[:, None]


def scaled_sizes(image_sizes: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """int64 [N, 2]: height and width of the whole image, scaled, at least 1."""
    return np.maximum(rounded(image_sizes * factor), 1)


def fit(image_sizes: np.ndarray, factor: np.ndarray, output: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N, 2] each: height and width of the window, at most the image's, and of what it fills of the output."""
    scaled = scaled_sizes(image_sizes, factor)
    inside = scaled <= output
    windows = np.clip(rounded(np.asarray(output) / factor), 1, image_sizes)
    return np.where(inside, image_sizes, windows), np.where(inside, scaled, output)


def offsets(room: np.ndarray, u: np.ndarray) -> np.ndarray:
    """int64 [N, 2], uniform from 0 to `room`; u float64 [N, 2] in [0, 1)."""
    return np.floor(u * (room + 1)).astype(np.int64)

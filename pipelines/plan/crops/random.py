"""Plain windows: rectangles y, x, height, width of the oriented original, whole pixels, drawn for a batch at once.

Only the window is decoded and then resized to the output; an image is never resized as a whole, so one of 1 x 4000 px
costs no more than any other. Sources: scale-and-aspect crops are the talk's (a ~ U(0.08, 1), s ~ U(3/4, 4/3), W' =
sqrt(W H a s), H' = sqrt(W H a / s)), with fb.resnet.torch's ten attempts, uniform offset and fallback (the square of
its shorter-side resize and centre crop); fb.resnet.torch also swaps the sides in half of the draws, the talk does not,
nor do we. Scale jitter is He et al.'s: a square of `output / S` of the shorter side, S uniform.
"""

from __future__ import annotations

import numpy as np

from ...config import Crop

ATTEMPTS = 10
WORDS = 2 * ATTEMPTS + 4  # areas, aspects, then scale jitter, offset y, offset x, one unused
_JITTER, _Y, _X = 2 * ATTEMPTS, 2 * ATTEMPTS + 1, 2 * ATTEMPTS + 2


def window_sizes(
    crop: Crop, image_sizes: np.ndarray, u: np.ndarray, output: int | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [N, 2], height and width of each window, at least 1 and at most the image's; bool [N], it is the fallback.

    image_sizes: int [N, 2]; u: float64 [N, WORDS] in [0, 1); output: the side windows are resized to, int or [N].
    """
    sizes = image_sizes.astype(np.int64)
    if crop.kind == "scale_jitter":
        return _jittered(crop, sizes, u[:, _JITTER], output), np.zeros(len(sizes), bool)
    return _scale_aspect(crop, sizes, u[:, :ATTEMPTS], u[:, ATTEMPTS : 2 * ATTEMPTS])


def corners(
    crop: Crop, image_sizes: np.ndarray, windows: np.ndarray, fallback: np.ndarray, u: np.ndarray
) -> np.ndarray:
    """int64 [N, 2], top and left of each window: uniform where it fits, or a uniform centre clamped (crop.offset).

    windows: height and width of each. Fallback windows lie in the middle.
    """
    room, u = image_sizes - windows, u[:, _Y : _X + 1]
    clamped = crop.offset == "clamped"
    drawn = around(image_sizes, windows, u * image_sizes) if clamped else np.floor(u * (room + 1)).astype(np.int64)
    # Half a pixel goes down in torchvision, up in fb.resnet.torch.
    middle = (room + (crop.law == "fb")) // 2
    return np.where(fallback[:, None], middle, drawn)


def around(image_sizes: np.ndarray, windows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """int64 [N, 2], top and left of windows centred at `centres` (y, x; float pixels), moved inside the image."""
    corner = np.floor(centres - windows / 2 + 0.5).astype(np.int64)
    return np.clip(corner, 0, image_sizes - windows)


def squares(image_sizes: np.ndarray, ratio: float) -> np.ndarray:
    """int64 [N, 2]: squares of `ratio` of the shorter side, at least a pixel."""
    side = rounded(image_sizes.min(1) * ratio)
    return np.maximum(side, 1)[:, None].repeat(2, 1)


def _jittered(crop: Crop, sizes: np.ndarray, u: np.ndarray, output: int | np.ndarray) -> np.ndarray:
    low, high = crop.shorter_side
    shorter_side = low + np.floor(u * (high - low + 1))
    side = rounded(output * sizes.min(1) / shorter_side)
    return np.minimum(np.maximum(side, 1)[:, None], sizes.min(1, keepdims=True)).repeat(2, 1)


def _scale_aspect(
    crop: Crop, sizes: np.ndarray, u_area: np.ndarray, u_aspect: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    area = (crop.area[0] + u_area * (crop.area[1] - crop.area[0])) * sizes.prod(1)[:, None]
    low, high = crop.aspect
    aspect = low + u_aspect * (high - low)
    if crop.law == "torchvision":
        aspect = np.exp(np.log(low) + u_aspect * (np.log(high) - np.log(low)))
    tried = np.stack([rounded(np.sqrt(area / aspect)), rounded(np.sqrt(area * aspect))], -1)  # [N, attempts, 2]
    fits = np.all((tried >= 1) & (tried <= sizes[:, None]), axis=-1)
    first = tried[np.arange(len(sizes)), fits.argmax(1)]
    fallback = ~np.any(fits, axis=1)
    return np.where(fallback[:, None], _fallback(crop, sizes), first), fallback


def _fallback(crop: Crop, sizes: np.ndarray) -> np.ndarray:
    """After ten misfits: the largest square, or torchvision's largest window within the aspect range."""
    if crop.law == "fb":
        return sizes.min(1, keepdims=True).repeat(2, 1)
    height, width = sizes[:, 0], sizes[:, 1]
    low, high = crop.aspect
    ratio = width / height
    tall = np.stack([np.rint(width / low), width], -1)  # halves to even, as Python's round() there
    wide = np.stack([height, np.rint(height * high)], -1)
    largest = np.where((ratio < low)[:, None], tall, np.where((ratio > high)[:, None], wide, sizes))
    return np.clip(largest.astype(np.int64), 1, sizes)


def rounded(values: np.ndarray) -> np.ndarray:
    """int64: halves are rounded up, where NumPy would round them to even."""
    return np.floor(values + 0.5).astype(np.int64)

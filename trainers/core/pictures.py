"""What the pictures of all tasks share: which samples are shown, their pixels, and their names as they can be drawn."""

from __future__ import annotations

import numpy as np

from ...pipelines.images.opencv import decode_bgr
from ...pipelines.store.reader import ImageStore

COUNT = 6


def shown_samples(store: ImageStore) -> np.ndarray:
    """int64 [at most 6]: indices evenly spread over the store."""
    return np.unique(np.linspace(0, len(store) - 1, COUNT).round().astype(np.int64))


def decoded(store: ImageStore, index: int) -> np.ndarray:
    """One image, RGB uint8 [H, W, 3], oriented."""
    height, width = store.sizes[index].tolist()
    return np.ascontiguousarray(decode_bgr(store.read([index])[0], (height, width), store.max_pixels)[:, :, ::-1])


def printable(name: str) -> str:
    """The name with a question mark for each character that cannot be drawn."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)

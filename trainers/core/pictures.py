"""What the pictures of all tasks share: which samples are shown, their pixels, and their names as they can be drawn."""

from __future__ import annotations

import cv2
import numpy as np

from ...pipelines.store.reader import ImageStore

COUNT = 6


def shown_samples(store: ImageStore) -> np.ndarray:
    """int64 [at most 6]: indices evenly spread over the store."""
    return np.unique(np.linspace(0, len(store) - 1, COUNT).round().astype(np.int64))


def decoded(store: ImageStore, index: int) -> np.ndarray:
    """One image, RGB uint8 [H, W, 3], oriented."""
    return np.asarray(cv2.imdecode(np.frombuffer(store.read([index])[0], np.uint8), cv2.IMREAD_COLOR_RGB))


def printable(name: str) -> str:
    """The name with a question mark for each character that cannot be drawn."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)

"""How far the pixels of two executors may differ, in grey levels."""

from __future__ import annotations

import numpy as np

from sdali.pipelines.config import Colour
from sdali.pipelines.store.statistics import IMAGENET

TOLERANCE = {"nearest": 1e-4, "linear": 1e-3, "cubic": 5e-3, "lanczos": 5e-3, "gaussian": 5e-3}


PLAIN = Colour(brightness=0, contrast=0, saturation=0, lighting=0)


def levels(images: np.ndarray) -> np.ndarray:
    """Normalised [..., 3, H, W] back to 0..255."""
    return 255 * (images * IMAGENET.std[:, None, None] + IMAGENET.mean[:, None, None])

"""Small stores of generated pictures, shared by tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sdali.pipelines import ImageStore
from sdali.pipelines.store.writer import StoreWriter


def photo(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width, 3]: smooth blobs with some grain, so that JPEG and resampling have something to do."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 12, 2), max(width // 12, 2), 3)).astype(np.float32)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def make_store(path: Path, count: int = 70, *, classes: int = 3, bad: dict[int, bytes] | None = None) -> ImageStore:
    """A store of `count` JPEGs of varied sizes; `bad` puts other bytes in place of some."""
    rng = np.random.default_rng(count)
    with StoreWriter(path, classes=[f"class {k}" for k in range(classes)], provenance={}) as writer:
        for index in range(count):
            height, width = (int(side) for side in rng.integers(40, 120, 2))
            data = (bad or {}).get(index) or jpeg(photo(index, height, width))
            writer.add(data, label=index % classes, height=height, width=width, name=f"{index}.jpg")
    return ImageStore(path)

"""Small stores of generated pictures and masks, shared by tests of scene parsing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from pictures import jpeg, photo

from sdali.pipelines import ImageStore
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.writer import StoreWriter

CLASSES, IGNORE = 5, 9


def mask_of(seed: int, height: int, width: int) -> np.ndarray:
    """uint8 [height, width] of 0 to 4 and 9 in patches and single pixels."""
    rng = np.random.default_rng(seed)
    values = np.array([*range(CLASSES), IGNORE], np.uint8)
    patches = rng.choice(values, (max(height // 9, 1), max(width // 9, 1)))
    mask = np.asarray(cv2.resize(patches, (width, height), interpolation=cv2.INTER_NEAREST))
    return np.where(rng.random((height, width)) < 0.1, rng.choice(values, (height, width)), mask)


def write_store(
    path: Path, samples: Sequence[tuple[bytes, np.ndarray]], ignore_index: int | None = IGNORE
) -> ImageStore:
    """A parsing store of encoded images and masks uint8 of their oriented sizes."""
    names = [f"class {k}" for k in range(CLASSES)]
    with StoreWriter(path, classes=names, has_masks=True, ignore_index=ignore_index) as writer:
        for index, (data, mask) in enumerate(samples):
            height, width = mask.shape
            writer.add(data, label=-1, height=height, width=width, name=f"{index}.jpg", mask=encode_mask(mask))
    return ImageStore(path)


def make_parsing_store(path: Path, count: int = 40, size: tuple[int, int] | None = None) -> ImageStore:
    """JPEGs of varied sizes, or of one, with masks."""
    rng = np.random.default_rng(count)
    sizes = [size or tuple(int(side) for side in rng.integers(20, 90, 2)) for _ in range(count)]
    return write_store(path, [(jpeg(photo(i, *hw)), mask_of(i, *hw)) for i, hw in enumerate(sizes)])

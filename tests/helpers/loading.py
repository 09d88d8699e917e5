"""A loader to try things on, and its batches in a form to be compared exactly."""

from __future__ import annotations

import numpy as np

from sdali.pipelines import ImageStore, classification
from sdali.pipelines.loader.loader import Loader

SIZE = 24


class Blobs:
    """Heatmaps of a user's own: anything with len and [index]."""

    def __init__(self, count: int) -> None:
        self._maps = np.random.default_rng(0).integers(0, 256, (count, 5, 7), np.uint8)
        self._maps[3] = 0

    def __len__(self) -> int:
        return len(self._maps)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._maps[index]


def make(store: ImageStore, batch_size: int = 16, **options) -> Loader:
    options = {"heatmaps": Blobs(len(store)), "size": SIZE, "seed": 5, "device": "cpu", "threads": 2, **options}
    return classification.train_loader(store, batch_size=batch_size, **options)


def by_position(*batches: dict) -> dict[int, tuple[bytes, bytes, int]]:
    """position -> (plan row, pixels, label) as bytes, to be compared exactly."""
    return {
        int(row["position"]): (row.tobytes(), image.numpy().tobytes(), int(label))
        for batch in batches
        for row, image, label in zip(batch["plan"], batch["image"], batch["label"], strict=True)
    }

"""What a build reports about objects: how many of each class, and how many boxes did not fit their image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .prepare import Prepared


class BoxTally:
    """Counts boxes as samples are added."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._objects = np.zeros(len(self._classes), np.int64)
        self._clipped = self._dropped = self._difficult = self._empty = 0

    def add(self, sample: Prepared) -> None:
        """Count one sample that goes into the store."""
        boxes = sample.content.boxes
        if boxes is None:
            return
        self._objects += np.bincount(boxes.labels, minlength=len(self._objects))
        self._difficult += int(boxes.difficult.sum())
        self._empty += not len(boxes.labels)
        self._clipped += sample.clipped
        self._dropped += sample.dropped

    def report(self) -> dict[str, Any]:
        """JSON-able: `boxes` kept; `boxes_clipped` of them, that reached beyond the image; `boxes_dropped`, that had
        nothing inside; `objects` by class; `difficult`; `images_without_objects`, kept as negatives.
        """
        return {
            "boxes": int(self._objects.sum()),
            "boxes_clipped": self._clipped,
            "boxes_dropped": self._dropped,
            "objects": dict(zip(self._classes, self._objects.tolist(), strict=True)),
            "difficult": self._difficult,
            "images_without_objects": self._empty,
        }

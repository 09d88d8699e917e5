"""The DALI graph of object detection: encoded bytes and plan rows -> images [3, H, W], padded to the batch's largest.

The nodes are those of scene parsing's images: the scaled window lies in the upper left corner, and 0, the mean colour,
fills the rest. H and W are the batch's largest, rounded up to a multiple. Boxes need no pixels: the loader moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..io.dali import Node
from ..store.reader import ImageStore
from .nodes import Feed, Graph, inputs
from .parsing import placed_windows, placing


@dataclass(frozen=True, kw_only=True)
class DetectionGraph(Graph):
    """Images of any sizes, each in the upper left corner of an output that is the same for the batch."""

    size_divisor: int
    """Height and width of a batch are multiples of this."""

    def read(self, store: ImageStore, indices: np.ndarray) -> list[memoryview]:
        """The records of the images; also reads the boxes, so that damaged ones are reported with their batch."""
        for index in indices.tolist():
            store.boxes(index)
        return store.read(indices)

    def feed(self, records: list[memoryview], rows: np.ndarray) -> Feed:
        """For rows [N] of any sizes: encoded images, and what `placing` makes of the rows."""
        height, width = -(-rows["size"].max(0) // self.size_divisor) * self.size_divisor
        encoded = [np.frombuffer(record, np.uint8) for record in records]
        return encoded, *placing(self, rows, height, width)

    def outputs(self, source: Callable[[], Feed]) -> tuple[Node, ...]:
        encoded, *how = inputs(source, 8)
        return (placed_windows(encoded, *how, graph=self),)

"""The DALI graph of object detection: encoded bytes and plan rows -> images [3, H, W], padded to the batch's largest.

The nodes are those of scene parsing's images: the scaled window lies in the upper left corner, and 0, the mean colour,
fills the rest. H and W are the batch's largest, rounded up to a multiple. Boxes need no pixels: the loader moves them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from nvidia.dali import Pipeline

from ..store.reader import ImageStore
from .classification import Feed, empty_pipeline, inputs
from .parsing import placed_windows, placing


@dataclass(frozen=True, kw_only=True)
class DetectionGraph:
    """How to build the pipeline; `cuda` is the ordinal of the GPU, None for the CPU."""

    dtype: str
    """float32 or float16; uint8: images are not coloured."""
    cuda: int | None
    threads: int
    size_divisor: int
    """Height and width of a batch are multiples of this."""
    prefetch: int = 2

    def read(self, store: ImageStore, indices: np.ndarray) -> list[memoryview]:
        """The records of the images; also reads the boxes, so that damaged ones are reported with their batch."""
        for index in indices.tolist():
            store.boxes(index)
        return store.read(indices)

    def feed(self, records: list[memoryview], rows: np.ndarray) -> Feed:
        """What the source returns for rows [N] of any sizes: encoded images, and how they are placed."""
        height, width = -(-rows["size"].max(0) // self.size_divisor) * self.size_divisor
        encoded = [np.frombuffer(record, np.uint8) for record in records]
        return encoded, *placing(rows, height, width, on_gpu=self.cuda is not None, coloured=self.dtype != "uint8")

    def pipeline(self, source: Callable[[], Feed], batch_size: int) -> Pipeline:
        """A built pipeline that pulls batches of at most batch_size from `source` until it raises StopIteration."""
        pipeline = empty_pipeline(batch_size, self.threads, self.cuda, self.prefetch)
        with pipeline:
            encoded, *how = inputs(source, 8)
            pipeline.set_outputs(placed_windows(encoded, *how, dtype=self.dtype, on_gpu=self.cuda is not None))
        pipeline.build()
        return pipeline

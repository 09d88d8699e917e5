"""Writing small heatmap stores."""

from __future__ import annotations

from typing import Any

import numpy as np

from sdali.cams.store.writer import HeatmapWriter

COUNT = 50


TRUTH = [np.random.default_rng(i).integers(0, 256, (1 + i % 7, 5), np.uint8) for i in range(COUNT)]


BINDING: dict[str, Any] = {"count": COUNT, "images_digest": "images", "method": "test", "model_digest": "model"}


def put(writer: HeatmapWriter, indices: Any) -> None:
    writer.put(indices, [TRUTH[i] for i in indices])

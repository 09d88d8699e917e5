"""Smooth pictures as JPEG, and builds of them; shared by the tests of building."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sdali.pipelines.build.build import build
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.folder import folder
from sdali.pipelines.sources.source import Source
from sdali.pipelines.store.reader import ImageStore

_RNG = np.random.default_rng(0)


def picture(height: int = 40, width: int = 60) -> np.ndarray:
    """Smooth colours, so that JPEG and averaging change little."""
    return cv2.resize(_RNG.integers(0, 256, (4, 5, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(image: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def built(source: Source | Path, path: Path, **options: Any) -> dict[str, Any]:
    return build(folder(source) if isinstance(source, Path) else source, path, progress=silent, **options)


def decoded(store: ImageStore, index: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(store.read([index])[0], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image)

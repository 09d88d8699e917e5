"""Small stores of generated pictures with objects, shared by tests of object detection."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from pictures import jpeg, photo

from sdali.pipelines import ImageStore
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.writer import StoreWriter

CLASSES = 4


def boxes_of(seed: int, height: int, width: int, count: int) -> Boxes:
    """`count` boxes of 2 px and more inside the image, of any classes."""
    rng = np.random.default_rng(seed)
    low = rng.random((count, 2)) * [width - 2, height - 2]
    high = low + 2 + rng.random((count, 2)) * ([width, height] - low - 2)
    labels = rng.integers(CLASSES, size=count)
    return Boxes(np.concatenate([low, high], 1).astype(np.float32), labels, rng.random(count) < 0.2)


def write_store(
    path: Path, samples: Sequence[tuple[bytes, tuple[int, int], Boxes | None]], classes: int = CLASSES
) -> ImageStore:
    """A store of encoded images of these heights and widths, and their objects."""
    with StoreWriter(path, classes=[f"class {k}" for k in range(classes)], has_boxes=True) as writer:
        for index, (data, (height, width), boxes) in enumerate(samples):
            writer.add(data, label=-1, height=height, width=width, name=f"{index}.jpg", boxes=boxes)
    return ImageStore(path)


def make_detection_store(path: Path, count: int = 30) -> ImageStore:
    """JPEGs of varied sizes with 0 to 4 objects each."""
    rng = np.random.default_rng(count)
    sizes = [(int(height), int(width)) for height, width in rng.integers(30, 100, (count, 2))]
    return write_store(path, [(jpeg(photo(i, *hw)), hw, boxes_of(i, *hw, i % 5)) for i, hw in enumerate(sizes)])


def squares(
    seed: int, height: int = 64, width: int = 96, difficult: bool = False
) -> tuple[bytes, tuple[int, int], Boxes]:
    """Bright squares (class 0) and dark ones (class 1) on grey noise, in one to three columns of the picture."""
    rng = np.random.default_rng(seed)
    image = rng.normal(128, 8, (height, width, 3))
    count = int(rng.integers(1, 4))
    sides, labels = rng.integers(18, 28, count), rng.integers(0, 2, count)
    x = rng.permutation(3)[:count] * (width // 3) + rng.integers(0, width // 3 - sides + 1)
    y = rng.integers(0, height - sides + 1)
    for left, top, side, label in zip(x, y, sides, labels, strict=True):
        image[top : top + side, left : left + side] += 90 if label == 0 else -90
    found = Boxes(np.stack([x, y, x + sides, y + sides], 1).astype(np.float32), labels, np.full(count, difficult))
    return jpeg(np.clip(image, 0, 255).astype(np.uint8)), (height, width), found


def rectangles(seed: int) -> tuple[bytes, tuple[int, int], Boxes]:
    """White rectangles on black, one in each quarter of a picture, as PNG."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(100, 200, 2))
    image, boxes = np.zeros((height, width, 3), np.uint8), []
    for row in (0, 1):
        for column in (0, 1):
            cell = np.array([width, height]) // 2
            low = rng.integers(6, cell // 3) + [column, row] * cell
            high = low + rng.integers(cell // 3, cell // 2)
            image[low[1] : high[1], low[0] : high[0]] = 255
            boxes.append([*low, *high])
    found = Boxes(np.array(boxes, np.float32), np.arange(4), np.zeros(4, bool))
    return cv2.imencode(".png", image)[1].tobytes(), (height, width), found

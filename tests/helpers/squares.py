"""Pictures of a red and a blue square on grey, and stores of them with masks and boxes; shared by tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

CELLS = 4


def squares(index: int) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
    """A picture RGB uint8 of CELLS x CELLS cells, grey but for a red and a blue one, and the places of the two."""
    rng = np.random.default_rng(index)
    red, blue = rng.choice(CELLS * CELLS, 2, replace=False)
    cells = np.full((CELLS * CELLS, 3), 128, np.uint8)
    cells[red], cells[blue] = (255, 0, 0), (0, 0, 255)
    height, width = CELLS * rng.integers(8, 25, 2)
    picture = cv2.resize(cells.reshape(CELLS, CELLS, 3), (int(width), int(height)), interpolation=cv2.INTER_NEAREST)
    return picture, divmod(int(red), CELLS), divmod(int(blue), CELLS)


def build(path: Path, labels: list[int]) -> ImageStore:
    """A store of squares; class 0 is red, 1 blue; masks and boxes hold the red cell."""
    with StoreWriter(path, classes=("red", "blue"), has_masks=True, has_boxes=True) as writer:
        for index, label in enumerate(labels):
            picture, (row, column), _ = squares(index)
            height, width = picture.shape[:2]
            box = np.array([[column, row, column + 1, row + 1]], np.float32) / CELLS * [width, height, width, height]
            writer.add(
                cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes(),
                label=label,
                height=height,
                width=width,
                name=f"squares/{index}.png",
                mask=cv2.imencode(".png", (picture[:, :, 0] == 255).astype(np.uint8))[1].tobytes(),
                boxes=Boxes(box.astype(np.float32), np.zeros(1, np.int64), np.zeros(1, bool)),
            )
    return ImageStore(path)

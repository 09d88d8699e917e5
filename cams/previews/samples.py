"""What the sheets of all tasks are drawn from: images of the store, and batches of the training loader.

Everything in a sheet comes from the loader itself: windows are rows of the plan, and tensors are those of a batch, with
mean and deviation put back and clipped to [0, 1]. So what is out of line in the sheet is out of line in training.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from ...pipelines.images.pillow import decode
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..drawing.overlay import Colour
from ..drawing.sheet import fitted

if TYPE_CHECKING:
    from torch import Tensor

EPOCHS = 12  # whose windows are drawn on each image
# The windows of the last epochs have these colours, and their tensors, which are shown, have frames in them.
MARKED: tuple[Colour, ...] = ((255, 99, 80), (64, 170, 255), (255, 196, 46))
CELL, PICTURE_ASPECT = 224, 4 / 3  # height of a row in pixels; width / height of most photographs
MAX_PIXELS = 1 << 30  # generous, since these images have passed the build


def batches_of(train_loader: Callable[..., Any], part: Subset, *, epochs: int = EPOCHS, **options: Any) -> list[Any]:
    """One batch of all samples, in their order, for each epoch; options: those of the task's training loader."""
    loader = train_loader(part, batch_size=len(part), order="sequential", device="cpu", **options)
    with closing(loader):
        return [batch for _ in range(epochs) for batch in loader]


def image_of(part: Subset, index: int, cell: int | None = CELL) -> np.ndarray:
    """A sample's image, RGB uint8 [H, W, 3], fitted to a cell of the sheet; None for its true size."""
    image = decode(bytes(part.read([index])[0]), MAX_PIXELS)
    return image if cell is None else fitted_to_cell(image, cell)


def fitted_to_cell(picture: np.ndarray, cell: int = CELL) -> np.ndarray:
    """The picture shrunk or enlarged to the height of a cell, or to its width."""
    return fitted(picture, cell, round(cell * PICTURE_ASPECT))


def as_pictures(tensors: Tensor, statistics: Statistics) -> np.ndarray:
    """Normalised float [B, 3, H, W] -> RGB uint8 [B, H, W, 3]."""
    pixels = tensors.float().numpy().transpose(0, 2, 3, 1) * statistics.std + statistics.mean
    return np.rint(pixels.clip(0, 1) * 255).astype(np.uint8)

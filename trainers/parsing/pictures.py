"""A picture of predictions of scene parsing: images, true masks, predicted masks, and where they differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from ...cams.drawing.mask_colours import legend, mask_overlay, palette
from ...cams.drawing.sheet import Row, contact_sheet, fitted, stacked
from ...pipelines.io.publish import write_png
from ...pipelines.store.reader import ImageStore
from ..core.pictures import decoded

HEIGHT, ASPECT = 200, 1.5  # of a row, pixels; widest shape of a picture


def save_parsing_picture(
    path: Path, store: ImageStore, predictions: Iterable[np.ndarray], *, overwrite: bool = False
) -> None:
    """Write the PNG; predictions: uint8 [H, W] of class indices for each sample of the store, in order."""
    classes, rows, values = len(store.classes), [], set()
    for index, prediction in enumerate(predictions):
        mask = store.mask(index)
        labelled = mask < classes
        wrong = labelled & (prediction != mask)
        values |= {*np.unique(mask[labelled]).tolist(), *np.unique(prediction).tolist()}
        shown = fitted(decoded(store, index), HEIGHT, round(HEIGHT * ASPECT))
        rows.append(
            Row(
                name=store.names[index],
                details=f"{1 - wrong.sum() / max(labelled.sum(), 1):.1%} of the labelled pixels are right",
                cells=[
                    shown,
                    mask_overlay(shown, mask, classes),
                    mask_overlay(shown, prediction, classes),
                    _errors(shown, wrong, labelled, palette(classes + 1)[classes]),
                ],
            )
        )
    sheet = contact_sheet([("Image", 1), ("Truth", 1), ("Prediction", 1), ("Wrong pixels", 1)], rows, HEIGHT)
    write_png(path, stacked([sheet, legend(store.classes, sorted(values), sheet.width)]), overwrite=overwrite)


def _errors(picture: np.ndarray, wrong: np.ndarray, labelled: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The picture in pale grey; wrong pixels in the colour, which no class has, and those without a class white."""
    height, width = picture.shape[:2]
    pale = 255 - (255 - cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None].repeat(3, 2)) // 2
    wrong, labelled = (
        cv2.resize(part.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST_EXACT).astype(bool)
        for part in (wrong, labelled)
    )
    pale[wrong] = colour
    pale[~labelled] = 255
    return pale

"""Predictions of scene parsing as files: for each image a PNG of class indices under its name, in one folder.

The files have a palette, as those of VOC: Pillow reads the class indices, and a viewer shows the classes' colours.
"""

from __future__ import annotations

import io
import os
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from torch import Tensor

from ...cams.drawing.mask_colours import palette
from ...pipelines.errors import InputError
from ...pipelines.io.publish import check_output, write_errors, write_file
from ...pipelines.store.reader import ImageStore


def check_folder(folder: Path, store: ImageStore, *, overwrite: bool) -> None:
    """Make the folder; raises InputError, before anything is predicted, where predictions could not be written into it,
    would replace files without `overwrite`, or two images would have one file.
    """
    images = {}
    for name in store.names:
        path = _path(folder, name)
        if (other := images.setdefault(path, name)) != name:
            raise InputError(f"{other} and {name} would both be written to {path}; build the store with one of them")
        if os.path.lexists(path):
            check_output(path, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} ({error.strerror}); name another") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into the folder {folder}; name another")


def write_predictions(folder: Path, names: list[str], predictions: Tensor, classes: int) -> None:
    """Write one PNG of class indices for each image; predictions: int64 [B, H, W]."""
    for name, prediction in zip(names, predictions.cpu().numpy().astype(np.uint8), strict=True):
        path = _path(folder, name)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        picture, file = Image.fromarray(prediction), io.BytesIO()
        picture.putpalette(palette(classes).tobytes())
        picture.save(file, "PNG")
        write_file(path, file.getvalue(), overwrite=True)  # check_folder has asked


def _path(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name).with_suffix(".png")
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"the image {name!r} would be written outside {folder}; build the store again")
    return folder / relative

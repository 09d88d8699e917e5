"""The HDF5 source: images in one dataset, a row each, labels in another, perhaps names, class names and masks.

Images are encoded files (variable-length uint8) or pixels (uint8: [N, H, W, 3] RGB, [N, H, W] or [N, H, W, 1] grey,
also with the channels first), which are kept without loss, as PNG. Rows are read when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError
from ..images.parts import MAX_PIXELS
from ..io.hdf5 import Rows, dataset, form, hdf5_errors, opened, text
from .class_names import numbered
from .mask_png import as_index_png, encode_mask
from .source import LazyItems, Loaded, Source, SourceItem

KIND, AGAIN = "images", "correct it, or name its datasets with --images-dataset, --labels-dataset, ..."

Encode = Callable[[np.ndarray], bytes]  # a row -> encoded image


def hdf5(
    path: str | Path,
    *,
    images: str = "images",
    labels: str | None = "labels",
    names: str | None = None,
    classes: str | None = None,
    masks: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Source:
    """Datasets of one HDF5 file, by their paths in it; nothing outside this file is read.

    Args:
        images: see the module; pixels have at most `max_pixels` an image.
        labels: integers [N] or [N, 1], -1 for an image without a class; None: no image has one.
        names: strings [N], each once; None: by position, 0000000.jpg where encoded and 0000000.png where pixels.
        classes: names of the classes, in the order of the labels; None: "0", "1", ... up to the largest label. A class
            may be without images, so that labels keep their meaning.
        masks: uint8 class indices [N, H, W], or variable-length uint8: PNG of class indices.

    Raises:
        InputError: a file or a dataset that is missing, damaged or of another form, or kept outside the file; datasets
            of different lengths; labels outside the classes; names that repeat.
    """
    path = Path(path)
    if classes is not None and labels is None:
        raise InputError(f"{path}: classes without labels have no meaning; give both, or neither")
    with hdf5_errors(path, KIND, AGAIN):
        file = opened(path)
        found = dataset(file, images)
        count, encode, suffix = len(found) if found.shape else 0, *_image_encoder(found, max_pixels)
        if not count:
            raise ValueError(f"{images} has no rows")
        all_labels = None if labels is None else _labels(_as_long(dataset(file, labels), count))
        class_names = () if all_labels is None else _class_names(file, all_labels, classes)
        all_names = None if names is None else _unique(text(_as_long(dataset(file, names), count)), names)
        mask_rows = None if masks is None else _masks(_as_long(dataset(file, masks), count))
        items = _Items(Rows(found), encode, suffix, all_labels, all_names, mask_rows)
    return Source(class_names, items, has_masks=masks is not None, description=f"HDF5 {path}")


class _Items(LazyItems):
    """Rows of the file."""

    def __init__(
        self,
        images: Rows,
        encode: Encode,
        suffix: str,
        labels: np.ndarray | None,
        names: list[str] | None,
        masks: tuple[Rows, Encode] | None,
    ) -> None:
        self._images, self._encode, self._suffix = images, encode, suffix
        self._labels, self._names, self._masks = labels, names, masks

    def __len__(self) -> int:
        return len(self._images)

    def item(self, index: int) -> SourceItem:
        def load() -> Loaded:
            return Loaded(self._encode(self._images[index]), self._mask(index))

        name = f"{index:07d}{self._suffix}" if self._names is None else self._names[index]
        return SourceItem(name, -1 if self._labels is None else int(self._labels[index]), load, f"of row {index}")

    def _mask(self, row: int) -> bytes | None:
        if self._masks is None:
            return None
        rows, encode = self._masks
        try:
            return encode(rows[row])
        except InputError as error:
            raise InputError(f"has a mask that {error}") from None


def _image_encoder(data: h5py.Dataset, max_pixels: int) -> tuple[Encode, str]:
    """How a row of an image dataset becomes an encoded image, and what its name ends in."""
    if _is_encoded(data):
        return np.ndarray.tobytes, ".jpg"
    if data.dtype != np.uint8 or data.ndim not in (3, 4):
        raise ValueError(
            f"{data.name} is {form(data)}; images are variable-length uint8 [N] of encoded files, or uint8 pixels "
            "[N, H, W] or [N, H, W, 3]"
        )
    last = data.ndim == 4 and data.shape[3] in (1, 3)
    first = data.ndim == 4 and data.shape[1] in (1, 3)
    if data.ndim == 4 and last == first:
        what = "could have its channels first or last" if first else "has neither 1 nor 3 channels"
        raise ValueError(f"{data.name} is {form(data)}, which {what}; store it as [N, H, W, 3] or [N, H, W]")
    height, width = data.shape[2:] if first else data.shape[1:3]
    if not 0 < height * width <= max_pixels:
        raise ValueError(f"{data.name} has images of {height:,} x {width:,} px; 1 to {max_pixels:,} are allowed")
    return (_png_of_planes if first else _png), ".png"


def _masks(data: h5py.Dataset) -> tuple[Rows, Encode]:
    if _is_encoded(data):
        return Rows(data), lambda row: as_index_png(row.tobytes())
    if data.dtype != np.uint8 or data.ndim != 3:
        raise ValueError(
            f"{data.name} is {form(data)}; masks are uint8 [N, H, W], or variable-length uint8 [N] of PNGs"
        )
    return Rows(data), encode_mask


def _is_encoded(data: h5py.Dataset) -> bool:
    return data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8


def _png(image: np.ndarray) -> bytes:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] RGB as PNG."""
    import cv2

    return cv2.imencode(".png", image[:, :, ::-1] if image.ndim == 3 else image)[1].tobytes()


def _png_of_planes(image: np.ndarray) -> bytes:
    """uint8 [1 or 3, H, W] as PNG."""
    return _png(image.transpose(1, 2, 0))


def _as_long(data: h5py.Dataset, count: int) -> h5py.Dataset:
    if data.shape[:1] != (count,):
        raise ValueError(f"{data.name} is {form(data)}, but there are {count:,} images: give each a row")
    return data


def _labels(data: h5py.Dataset) -> np.ndarray:
    """int64 [N], at least -1."""
    if data.dtype.kind not in "iu" or data.shape[1:] not in ((), (1,)):
        raise ValueError(f"{data.name} is {form(data)}; labels are integers [N]")
    values = data[()].reshape(-1)
    if values.min() < -1 or values.max() > np.iinfo(np.int64).max:
        row = int(np.argmax((values < -1) | (values > np.iinfo(np.int64).max)))
        raise ValueError(f"{data.name} has {values[row]} in row {row}; labels are at least 0, or -1 for no class")
    return values.astype(np.int64)


def _class_names(file: h5py.File, labels: np.ndarray, name: str | None) -> tuple[str, ...]:
    row = int(labels.argmax())
    if name is None:
        return numbered(int(labels[row]), f"{file.filename}: label {labels[row]} in row {row}")
    names = _unique(text(dataset(file, name)), name)
    if labels[row] >= len(names):
        raise ValueError(f"label {labels[row]} in row {row} is outside the {len(names)} classes that {name} names")
    return tuple(names)


def _unique(names: list[str], dataset_name: str) -> list[str]:
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name or (before := seen.setdefault(name, row)) != row:
            wrong = f"the name {name!r} of row {before} again in row {row}" if name else f"no name in row {row}"
            raise ValueError(f"{dataset_name} has {wrong}; give each its own")
    return names

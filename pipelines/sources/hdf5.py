"""The format hdf5: images in one dataset, a row each, labels in another, perhaps names, class names and masks.

Images are encoded files (variable-length uint8) or pixels (uint8: [N, H, W, 3] RGB, [N, H, W] or [N, H, W, 1] grey,
also with the channels first), which are stored as PNG, without loss. Rows are read when their turn comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from ..errors import InputError
from ..images.header import MAX_PIXELS
from ..io.hdf5 import Rows, dataset, form, hdf5_errors, opened, text
from .mask_png import as_index_png, encode_mask
from .registry import source_format
from .source import LazyItems, LeftOut, Loaded, Source, SourceItem, checked_names

Encode = Callable[[np.ndarray], bytes]  # a row -> encoded image


@dataclass(frozen=True, kw_only=True)
class Hdf5Options:
    """An HDF5 file of images. Datasets are named by their paths in the file; nothing outside it is read."""

    images_dataset: str = "images"
    """The images: encoded files (variable-length uint8 [N], 256 MiB each at most) or pixels (uint8 [N, H, W, 3], [N, 3,
    H, W] or [N, H, W])."""

    labels_dataset: str | None = "labels"
    """Their classes: integers [N] or [N, 1], -1 for an image without a class. None: no image has a class."""

    classes_dataset: str | None = None
    """The names of the classes, in the order of the labels; a class may have no images. None: "0", "1", ..."""

    names_dataset: str | None = None
    """The names of the images: strings, each once. None: row numbers, 0000000.jpg if encoded and 0000000.png if
    pixels."""

    masks_dataset: str | None = None
    """Masks of class indices: uint8 pixels [N, H, W], or variable-length uint8 [N] of PNG files. None: no masks."""

    max_pixels: int = MAX_PIXELS
    """Refuse pixels of larger images."""


@source_format("hdf5", Hdf5Options)
def hdf5(path: str | Path, options: Hdf5Options) -> Source:
    """Rows of the datasets of one HDF5 file, which are read when their turn comes; see Hdf5Options.

    Raises InputError for a file or a dataset that is missing, damaged, of another form, or kept outside the file, for
    datasets of different lengths, labels outside the classes, and names that repeat.
    """
    path = Path(path)
    if options.classes_dataset is not None and options.labels_dataset is None:
        raise InputError(f"{path}: classes_dataset without labels_dataset has no meaning; give both, or neither")
    hint = "correct it, or name its datasets with images_dataset, labels_dataset, ..."
    with hdf5_errors(path, "images", hint):
        file = opened(path)
        data = dataset(file, options.images_dataset)
        encode, suffix = _image_encoder(data, options.max_pixels)
        count = len(data)
        if not count:
            raise ValueError(f"{options.images_dataset} has no rows")

        def column(name: str | None) -> h5py.Dataset | None:
            if name is not None and (found := dataset(file, name)).shape[:1] != (count,):
                raise ValueError(f"{found.name} is {form(found)}, but there are {count:,} images: give each a row")
            return None if name is None else found

        labels, names, masks = map(column, (options.labels_dataset, options.names_dataset, options.masks_dataset))
        all_labels = np.full(count, -1) if labels is None else _labels(labels)
        classes = () if labels is None else _class_names(file, all_labels, options.classes_dataset)
        all_names = None if names is None else _unique(text(names), str(names.name))
        rows, mask = Rows(data), None if masks is None else _mask_reader(masks)
        left_out = _other_datasets(file, [data, labels, names, masks], options.classes_dataset)

    def item(index: int) -> SourceItem:
        def load() -> Loaded:
            return Loaded(encode(rows[index]), None if mask is None else mask(index))

        name = f"{index:07d}{suffix}" if all_names is None else all_names[index]
        return SourceItem(name, int(all_labels[index]), load, f"of row {index}")

    items = LazyItems(count, item)
    return Source(classes, items, has_masks=mask is not None, description=f"HDF5 {path}", left_out=left_out)


def _other_datasets(file: h5py.File, read: Sequence[h5py.Dataset | None], classes: str | None) -> LeftOut:
    """The datasets of the file that are neither of these nor the names of the classes."""
    left_out, taken = LeftOut(), {one.name for one in read if one is not None} | {f"/{(classes or '').strip('/')}"}

    def count(name: str, found: object) -> None:
        if isinstance(found, h5py.Dataset) and f"/{name}" not in taken:
            left_out.add("datasets of the file", name)

    file.visititems(count)  # which follows no links
    return left_out


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
    return (lambda planes: _png(planes.transpose(1, 2, 0))) if first else _png, ".png"


def _mask_reader(data: h5py.Dataset) -> Callable[[int], bytes]:
    """A function from a row's number to its mask as single-channel PNG."""
    encoded, rows = _is_encoded(data), Rows(data)
    if not encoded and (data.dtype != np.uint8 or data.ndim != 3):
        raise ValueError(
            f"{data.name} is {form(data)}; masks are uint8 [N, H, W], or variable-length uint8 [N] of PNGs"
        )

    def mask(row: int) -> bytes:
        try:
            return as_index_png(rows[row].tobytes()) if encoded else encode_mask(rows[row])
        except InputError as error:
            raise InputError(f"has a mask that {error}") from None

    return mask


def _is_encoded(data: h5py.Dataset) -> bool:
    return data.ndim == 1 and h5py.check_vlen_dtype(data.dtype) == np.uint8


def _png(image: np.ndarray) -> bytes:
    """uint8 [H, W], [H, W, 1] or [H, W, 3] RGB as PNG."""
    import cv2

    return cv2.imencode(".png", image[:, :, ::-1] if image.ndim == 3 else image)[1].tobytes()


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
    names = None if name is None else _unique(text(dataset(file, name)), name)
    return checked_names(int(labels[row]), f"{file.filename}: label {labels[row]} in row {row}", names, name)


def _unique(names: list[str], dataset_name: str) -> list[str]:
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if not name or (before := seen.setdefault(name, row)) != row:
            wrong = f"the name {name!r} of row {before} again in row {row}" if name else f"no name in row {row}"
            raise ValueError(f"{dataset_name} has {wrong}; give each a name of its own")
    return names

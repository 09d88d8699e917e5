"""Heatmaps as an HDF5 file: for other tools, and from them.

`maps` is uint8 [N, h, w] where all maps are of one size, else variable-length uint8 [N], each map row by row, beside
`shapes` int64 [N, 2] (height, width). `names` and `labels` tell whose they are, `classes` the labels' names; attributes
name the images, the method and the heatmap store. Maps of others need no more than `maps`, which may be float.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.images.header import MAX_PIXELS
from ...pipelines.io.hdf5 import Rows, dataset, form, hdf5_errors, opened, text, text_attribute
from ...pipelines.io.hdf5_write import bytes_of_rows, write_text, written_hdf5
from ...pipelines.io.publish import check_apart
from ...pipelines.store.heatmaps import LARGEST_SIDE, Cells, HeatmapStore, quantise
from ...pipelines.store.reader import ImageStore

FORMAT = "sdali heatmaps"
KIND, AGAIN = "heatmaps", "correct it, or name its dataset with --maps-dataset"
_MAPS_AT_A_TIME = 4096


def export(heatmaps: HeatmapStore, store: ImageStore, path: Path, *, overwrite: bool = False) -> None:
    """Write the maps of all images as HDF5, whole or not at all; raises InputError for what cannot be written."""
    heatmaps.check(store)
    check_apart(path, (store.path, heatmaps.path))
    shapes = np.concatenate([cells.shapes for _, cells in _batches(heatmaps)])
    with written_hdf5(path, largest=_largest(shapes, store), overwrite=overwrite) as file:
        _write(file, heatmaps, shapes, store)


def _largest(shapes: np.ndarray, store: ImageStore) -> int:
    """Bytes that the datasets take at most; a name has four bytes a character at most."""
    cells = int(shapes.prod(1).sum())
    maps = cells if _are_alike(shapes) else bytes_of_rows(len(shapes), cells)
    names = bytes_of_rows(len(store), 4 * sum(map(len, store.names)))
    classes = bytes_of_rows(len(store.classes), 4 * sum(map(len, store.classes)))
    return maps + names + classes + shapes.nbytes + store.labels.nbytes


def _write(file: h5py.File, heatmaps: HeatmapStore, shapes: np.ndarray, store: ImageStore) -> None:
    header = heatmaps.header
    file.attrs["format"], file.attrs["method"] = FORMAT, header["method"]
    file.attrs["images_digest"], file.attrs["heatmaps_digest"] = header["images_digest"], header["digest"]
    file.attrs["model_digest"] = header["model_digest"]
    count = len(heatmaps)
    one_size = _are_alike(shapes)
    if one_size:
        maps = file.create_dataset("maps", (count, *shapes[0].tolist()), np.uint8)
    else:
        maps = file.create_dataset("maps", (count,), h5py.vlen_dtype(np.uint8))
        file["shapes"] = shapes
    for start, cells in _batches(heatmaps):
        stop = start + len(cells.shapes)
        if one_size:
            maps[start:stop] = cells.values.reshape(-1, *shapes[0])
        else:
            ends = np.cumsum(cells.shapes.prod(1))
            for row, values in enumerate(np.split(cells.values, ends[:-1]), start):
                maps[row] = values  # h5py takes several of one length for a table
    write_text(file, "names", store.names)
    write_text(file, "classes", store.classes)
    file["labels"] = store.labels


def _are_alike(shapes: np.ndarray) -> bool:
    return bool((shapes == shapes[0]).all())


def _batches(heatmaps: HeatmapStore) -> Iterator[tuple[int, Cells]]:
    for start in range(0, len(heatmaps), _MAPS_AT_A_TIME):
        yield start, heatmaps.cells(np.arange(start, min(start + _MAPS_AT_A_TIME, len(heatmaps))))


class HeatmapFile:
    """The maps of an image store in an HDF5 file, by the index of their image.

    Where the file has `names`, they say whose map is whose, and there may be more of them than images; else row i
    belongs to image i. Attributes: `method`, for the header of the heatmap store; `rows` int64 [N], the row of each
    image. Raises InputError for a file or a dataset that cannot be used, an image without a map, and maps that say they
    are of other images.
    """

    def __init__(self, path: Path, store: ImageStore, name: str = "maps") -> None:
        self.path = path
        with hdf5_errors(path, KIND, AGAIN):
            file = opened(path)
            images = text_attribute(file, "images_digest")
            if images is not None and images != store.digest:
                raise InputError(f"the maps in {path} were made from other images than {store.path}; name their store")
            maps = dataset(file, name)
            self._shapes = _shapes(file, maps)
            self._maps = Rows(maps)
            self.rows = self._rows_of(file, store)
            method = text_attribute(file, "method")
            self.method = f"{name} of {path.name}, SHA-256 {_sha256(path)}{f': {method}' if method else ''}"

    def heatmap(self, index: int) -> np.ndarray:
        """The uint8 map [h, w] of an image, its maximum 255; InputError where it is damaged or not finite."""
        row = int(self.rows[index])
        try:
            values = self._maps[row]
        except InputError as error:
            raise InputError(f"map {row} of {self.path} {error}; {AGAIN}") from None
        if self._shapes is not None:
            height, width = self._shapes[row].tolist()
            if len(values) != height * width:
                raise InputError(f"map {row} of {self.path} has {len(values)} cells, not {height} x {width}; {AGAIN}")
            values = values.reshape(height, width)
        if not np.isfinite(values).all():
            raise InputError(f"map {row} of {self.path} has values that are not finite; {AGAIN}")
        return quantise(values)

    def _rows_of(self, file: h5py.File, store: ImageStore) -> np.ndarray:
        if "names" not in file:
            if len(self._maps) != len(store):
                raise ValueError(
                    f"it has {len(self._maps):,} maps and no names, {store.path} has {len(store):,} images"
                )
            return np.arange(len(store))
        names = text(dataset(file, "names"))
        if len(names) != len(self._maps):
            raise ValueError(f"it has {len(self._maps):,} maps, but {len(names):,} names")
        if names == list(store.names):  # also where names repeat, in a file of our own
            return np.arange(len(store))
        row_of = {name: row for row, name in enumerate(names)}
        if len(row_of) < len(names):
            twice = next(name for row, name in enumerate(names) if row_of[name] != row)
            raise ValueError(f"it has several maps named {twice}")
        missing = [name for name in store.names if name not in row_of]
        if missing:
            raise ValueError(f"it has no map for {len(missing):,} images of {store.path}, the first is {missing[0]}")
        return np.array([row_of[name] for name in store.names])


def _shapes(file: h5py.File, maps: h5py.Dataset) -> np.ndarray | None:
    """int64 [N, 2] of maps of variable length, None where all are of one size; ValueError for what are no maps."""
    if maps.ndim == 3 and (maps.dtype == np.uint8 or maps.dtype.kind == "f"):
        _check_sizes(np.array([maps.shape[1:]]))
        return None
    if maps.ndim != 1 or h5py.check_vlen_dtype(maps.dtype) != np.uint8:
        raise ValueError(
            f"{maps.name} is {form(maps)}; maps are float or uint8 [N, h, w], or variable-length uint8 [N]"
        )
    shapes = dataset(file, "shapes")
    if shapes.shape != (len(maps), 2) or shapes.dtype.kind not in "iu":
        raise ValueError(f"/shapes is {form(shapes)}; the shapes of {len(maps):,} maps are integers [{len(maps)}, 2]")
    sizes = shapes[()].astype(np.int64)
    _check_sizes(sizes)
    return sizes


def _check_sizes(sizes: np.ndarray) -> None:
    wrong = (sizes < 1) | (sizes > LARGEST_SIDE)
    if (bad := np.flatnonzero(wrong.any(1) | (sizes.astype(np.float64).prod(1) > MAX_PIXELS))).size:
        height, width = sizes[bad[0]].tolist()
        raise ValueError(
            f"it has maps of {height:,} x {width:,} cells; 1 to {LARGEST_SIDE:,} a side and {MAX_PIXELS:,} in all are"
            " allowed"
        )


def _sha256(path: Path) -> str:
    state = hashlib.sha256()
    with open(path, "rb") as raw:
        while piece := raw.read(1 << 20):
            state.update(piece)
    return state.hexdigest()

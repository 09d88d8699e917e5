"""Predictions of classifiers in HDF5, so that ensembles are recombined without a GPU or an image.

    with written_predictions("a.h5", store=store, checkpoints=[...], scales=[256], views="whole",
                             views_per_image=1) as out:
        out.put(batch["index"], softmax)  # in any order, each image once
    probabilities = Predictions("a.h5").mean()  # float64 [N, K]

`softmax` float32 [N, checkpoints, scales, views, K] lies in one piece and uncompressed: 36,500 images x 3 checkpoints x
32 views x 365 classes take 5.1 GB. Tried on synthetic softmax: shuffle and gzip save 13 % and write at a twentieth of
the speed; float16 saves half and keeps top-1 and top-5, but a probability below 3e-8 becomes 0, which spoils the loss
of a confident network with few views (3.129 to 3.147 nats; at twice the logits 5.06 to 7.77).

Beside it: `labels` int64 [N], `names` [N], `classes` [K], `scales` int64 (px), `checkpoints` (a JSON object each); as
attributes `format`, `version`, `store_digest` and `views`, which says what the views of an image are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.hdf5 import dataset, open_hdf5, text, text_attribute
from ...pipelines.io.hdf5_write import bytes_of_rows, write_text, written_hdf5
from ...pipelines.io.publish import write_errors
from ..core.checks import LabelledImages, check_labelled

FORMAT = "sdali predictions"
VERSION = 1
BLOCK_BYTES = 1 << 25  # of softmax read at a time
KIND, AGAIN = "predictions", "make it with sdali evaluate classification --predictions"


@contextmanager
def written_predictions(
    path: str | Path,
    *,
    store: LabelledImages,
    checkpoints: Sequence[Mapping[str, Any]],
    scales: Sequence[int],
    views: str,
    views_per_image: int,
    overwrite: bool = False,
) -> Iterator[PredictionWriter]:
    """Write a file of predictions; it is published when the block ends with every image written.

    checkpoints: for each network a dictionary that JSON can hold: name, weights_digest, epoch; scales: sides of the
    network's input, px; views: what the views of an image are, such as "32 random windows".
    Raises InputError where `path` exists (without `overwrite`) or is being written, the disk is full (found out before
    anything is computed), an image has no class, or its predictions are no softmax; `path` then holds what it held
    before. Raises AssertionError where an image is put twice or left out.
    """
    check_labelled(store)
    path = Path(path)
    shape = (len(store), len(checkpoints), len(scales), views_per_image, len(store.classes))
    if not all(shape):
        raise InputError(f"{path} would be empty: images, checkpoints, scales, views, classes are {shape}")
    documents = [json.dumps(dict(checkpoint)) for checkpoint in checkpoints]
    texts = {"names": store.names, "classes": store.classes, "checkpoints": documents}
    text_bytes = sum(bytes_of_rows(len(all_), sum(4 * len(one) for one in all_)) for all_ in texts.values())
    softmax_bytes = math.prod(shape) * np.dtype(np.float32).itemsize
    largest = softmax_bytes + text_bytes + 8 * (len(store) + len(scales))
    with written_hdf5(path, largest=largest, overwrite=overwrite) as file:
        file.attrs.update(format=FORMAT, version=VERSION, store_digest=store.digest, views=views)
        file["labels"], file["scales"] = store.labels, np.asarray(scales, np.int64)
        for name, values in texts.items():
            write_text(file, name, values)
        writer = PredictionWriter(path, store.names, file.create_dataset("softmax", shape, np.float32))
        yield writer
        writer.check_complete()


class PredictionWriter:
    """Takes the predictions for a file that `written_predictions` has begun, in any order."""

    def __init__(self, path: Path, names: Sequence[str], softmax: h5py.Dataset) -> None:
        self.path, self._names, self._softmax = path, names, softmax
        self._written = np.zeros(len(softmax), bool)

    def put(self, indices: Sequence[int] | np.ndarray, softmax: np.ndarray) -> None:
        """Write the softmax float32 [B, checkpoints, scales, views, K] of the images with these indices, int64 [B]."""
        indices, softmax = np.asarray(indices, np.int64).reshape(-1), np.asarray(softmax, np.float32)
        assert softmax.shape == (len(indices), *self._softmax.shape[1:]), f"predictions are {list(softmax.shape)}"
        assert not self._written[indices].any() and len(set(indices)) == len(indices), "an image is put twice"
        if (index := first_no_softmax(softmax)) is not None:
            name = self._names[int(indices[index])]
            raise InputError(f"the predictions of {name} are no softmax: the network has diverged; take another one")
        order = np.argsort(indices)
        runs = np.split(order, np.flatnonzero(np.diff(indices[order]) != 1) + 1)
        with write_errors(self.path):
            for run in runs if len(indices) else []:
                begin = indices[run[0]]
                self._softmax[begin : begin + len(run)] = softmax[run]
        self._written[indices] = True

    def check_complete(self) -> None:
        """Raise AssertionError where an image is left out."""
        assert self._written.all(), f"{self.path} lacks {(~self._written).sum()} of its {len(self._written)} images"


class Predictions:
    """A file of predictions of N images.

    Attributes: `path`; `digest` (of the image store); `classes`, `names` (of the images), `labels` int64 [N]; `scales`
    (px); `checkpoints` (dictionaries); `views` (what they are), `views_per_image`. Raises InputError for a file that is
    missing, foreign, damaged or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with open_hdf5(self.path, KIND, AGAIN) as file:
            if text_attribute(file, "format") != FORMAT:
                raise InputError(f"{path} is no file of predictions; {AGAIN}")
            if (version := file.attrs["version"]) != VERSION:
                raise InputError(f"{path} has version {version} and this sdali reads {VERSION}; {AGAIN}")
            self._shape = _softmax(file).shape
            self.digest, self.views = (text_attribute(file, name) or "" for name in ("store_digest", "views"))
            self.classes, self.names = tuple(text(dataset(file, "classes"))), tuple(text(dataset(file, "names")))
            self.checkpoints = [json.loads(document) for document in text(dataset(file, "checkpoints"))]
            self.scales = tuple(int(scale) for scale in dataset(file, "scales")[()])
            self.labels = np.asarray(dataset(file, "labels")[()], np.int64)
        parts = (len(self.names), len(self.checkpoints), len(self.scales), *self._shape[3:4], len(self.classes))
        if not (self._shape == parts and all(parts) and len(self.labels) == len(self.names)):
            found = f"softmax {list(self._shape)} where its parts say {list(parts)} and {len(self.labels)} labels"
            raise InputError(f"{path} contradicts itself: {found}; {AGAIN}")
        if not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise InputError(f"{path} has labels outside its {len(self.classes)} classes; {AGAIN}")

    @property
    def views_per_image(self) -> int:
        return self._shape[3]

    def __len__(self) -> int:
        return self._shape[0]

    def mean(
        self,
        checkpoints: Sequence[int] | None = None,
        scales: Sequence[int] | None = None,
        views: Sequence[int] | None = None,
    ) -> np.ndarray:
        """The mean softmax of each image over the chosen checkpoints, scales and views: float64 [N, K].

        checkpoints, views: numbers from 0, negative ones from the end; scales: px. None: all. Beside the result it
        takes less than 100 MB. Raises InputError for a choice that the file lacks, and for what is no softmax.
        """
        if unknown := [scale for scale in scales or () if scale not in self.scales]:
            known = ", ".join(map(str, self.scales))
            raise InputError(f"{self.path} has no scale of {unknown[0]} px; choose of {known}")
        scale_numbers = None if scales is None else [self.scales.index(scale) for scale in scales]
        chosen_checkpoints = self._chosen("checkpoint", checkpoints, len(self.checkpoints))
        chosen_scales = self._chosen("scale", scale_numbers, len(self.scales))
        chosen_views = self._chosen("view", views, self.views_per_image)
        total = np.zeros((len(self), len(self.classes)))
        images = max(1, BLOCK_BYTES // (4 * self.views_per_image * len(self.classes)))
        with open_hdf5(self.path, KIND, AGAIN) as file:
            softmax = _softmax(file)
            if softmax.shape != self._shape:
                raise ValueError("it was replaced while in use")
            for begin, checkpoint, scale in product(range(0, len(self), images), chosen_checkpoints, chosen_scales):
                block = softmax[begin : begin + images, checkpoint, scale][:, chosen_views]
                if (bad := first_no_softmax(block)) is not None:
                    raise ValueError(f"the predictions of {self.names[begin + bad]} are no softmax")
                total[begin : begin + images] += block.sum(1, dtype=np.float64)
        return total / (len(chosen_checkpoints) * len(chosen_scales) * len(chosen_views))

    def _chosen(self, what: str, chosen: Sequence[int] | None, count: int) -> list[int]:
        """The chosen numbers, made to count from 0 to `count` - 1; all for None."""
        numbers = list(range(count)) if chosen is None else list(chosen)
        if not numbers:
            raise InputError(f"choose one {what} of {self.path} at least")
        if unknown := [number for number in numbers if not -count <= number < count]:
            raise InputError(f"{self.path} has no {what} {unknown[0]}; choose of 0 to {count - 1}, or -1 for the last")
        numbers = [number % count for number in numbers]
        if len(set(numbers)) < len(numbers):
            raise InputError(f"each {what} of {self.path} can be chosen once, got {', '.join(map(str, chosen or ()))}")
        return numbers


def _softmax(file: h5py.File) -> h5py.Dataset:
    found = dataset(file, "softmax")
    if found.dtype != np.float32 or found.ndim != 5:
        raise ValueError(f"its softmax is {found.dtype} {list(found.shape)}, not float32 of five axes")
    return found


def first_no_softmax(rows: np.ndarray) -> int | None:
    """The first index on axis 0 where a row (last axis) has a negative value or NaN, or does not sum to about 1."""
    with np.errstate(invalid="ignore"):
        sound = (rows.min(-1) >= 0) & (np.abs(rows.sum(-1) - 1) <= 0.01)
    bad = np.flatnonzero(~sound.all(tuple(range(1, sound.ndim))))
    return int(bad[0]) if len(bad) else None

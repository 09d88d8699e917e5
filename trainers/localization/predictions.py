"""Predictions of object localization, and their text file as ILSVRC's development kit reads it.

The file has a line for each image, in the order of the ground truth, with one to five predictions, the most certain
first, each `label x_min y_min x_max y_max`: labels count from 1, and so do pixels, of which the last lies inside the
box. In memory labels are indices of the class names; boxes stay as the kit has them, since its metric is defined on
those.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import read_input
from ...pipelines.io.publish import write_file

MOST, NUMBERS = 5, 5  # predictions for an image; numbers in a prediction


class Predictions(NamedTuple):
    """The A predictions for one image, the most certain first."""

    labels: np.ndarray
    """int64 [A], indices of the class names."""
    boxes: np.ndarray
    """float64 [A, 4]: xyxy pixels, counted from 1, the last inside."""


def inclusive_pixels(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [A, 4] of continuous edges, as stores and detectors have them, in the kit's pixels: float64, whole numbers.

    Edges are rounded to the nearest pixel's, halves upwards, and clipped to the image; a box keeps at least one pixel.
    """
    edges = np.floor(np.asarray(boxes, np.float64) + 0.5)
    first = np.clip(edges[:, :2] + 1, 1, [width, height])
    return np.concatenate([first, np.clip(edges[:, 2:], first, [width, height])], 1)


def write_predictions(path: str | Path, predictions: Iterable[Predictions], *, overwrite: bool = False) -> None:
    """Write the predictions for each image; a file that exists is replaced only with `overwrite`.

    Raises InputError where an image has none, or more than five, and where the file cannot be written.
    """
    lines = []
    for number, (labels, boxes) in enumerate(predictions, 1):
        if not 1 <= len(labels) <= MOST:
            raise InputError(
                f"image {number} has {len(labels)} predictions and {path} can hold 1 to {MOST}; choose as many"
            )
        rows = zip((labels + 1).tolist(), boxes.tolist(), strict=True)
        lines.append(" ".join(f"{label} {' '.join(f'{edge:.15g}' for edge in box)}" for label, box in rows) + "\n")
    write_file(path, "".join(lines).encode(), overwrite=overwrite)


def read_predictions(path: str | Path, *, images: int, classes: int) -> list[Predictions]:
    """The predictions for each image; `images` and `classes` are how many there are.

    Raises InputError for a file that is missing or no text, has another number of lines, a line that does not consist
    of one to five predictions, a label that is not 1 to `classes`, and an edge that is not finite or ends a box before
    it begins.
    """
    try:
        lines = read_input(path).decode("ascii").splitlines()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; name a file of predictions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text of numbers; give lines of label x_min y_min x_max y_max") from error
    if len(lines) != images:
        raise InputError(f"{path} has {len(lines)} lines for {images} images; give one line for each, in order")
    return [_parsed(line, f"line {number} of {path}", classes) for number, line in enumerate(lines, 1)]


def _parsed(line: str, where: str, classes: int) -> Predictions:
    words = line.split()
    if len(words) % NUMBERS or not 1 <= len(words) // NUMBERS <= MOST:
        raise InputError(f"{where} has {len(words)} numbers; give label x_min y_min x_max y_max, up to {MOST} times")
    numbers = np.array([_number(word, where) for word in words]).reshape(-1, NUMBERS)
    labels, boxes = numbers[:, 0], numbers[:, 1:]
    if len(wrong := labels[(labels != labels.round()) | (labels < 1) | (labels > classes)]):
        raise InputError(f"{where} has label {wrong[0]:g}; labels are whole numbers, 1 to {classes}")
    if len(wrong := boxes[(boxes[:, 2:] < boxes[:, :2]).any(1)]):
        edges = " ".join(f"{edge:g}" for edge in wrong[0])
        raise InputError(f"{where} has the box {edges}, which ends before it begins; give x_min y_min x_max y_max")
    return Predictions(labels.astype(np.int64) - 1, boxes)


def _number(word: str, where: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{where} has {word[:40]!r} in place of a finite number; correct it")
    return number

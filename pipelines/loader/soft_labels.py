"""Soft labels from a confusion matrix: a label's target leans towards the classes it is most confused with.

Source: the talk (the 4 classes most confused with a label define its prior). Our choices: the matrix is the mean
softmax of held-out images of each class, true class -> predicted class, and a share `eps` of the target goes to others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..errors import InputError
from ..io.hdf5 import dataset, open_hdf5, text, text_attribute
from ..io.hdf5_write import bytes_of_rows, write_text, written_hdf5

FORMAT = "sdali confusion"
Weights = Literal["proportional", "uniform"]


@dataclass(frozen=True, kw_only=True)
class SoftLabels:
    """How a confusion matrix becomes soft targets."""

    eps: float = 0.1
    """Share of the target that goes to other classes than the label."""

    top: int = 4
    """The number of classes that receive this share: those most confused with the label."""

    weights: Weights = "proportional"
    """How they divide it. proportional: by how often each is confused with the label; uniform: evenly."""

    symmetric: bool = False
    """Count confusion in both directions: use the mean of the matrix and its transpose."""

    def __post_init__(self) -> None:
        if not 0 <= self.eps <= 1:
            raise InputError(f"soft-label eps must be within [0, 1], got {self.eps}")
        if not isinstance(self.top, int) or self.top < 1:
            raise InputError(f"soft-label top must be at least 1 and whole, got {self.top!r}")
        if self.weights not in get_args(Weights):
            raise InputError(f"soft-label weights must be one of {', '.join(get_args(Weights))}, got {self.weights!r}")

    def targets(self, confusion: np.ndarray) -> np.ndarray:
        """float32 [K, K], a row for each label, each summing to one with its largest value at the label.

        confusion: float [K, K], true class -> predicted class, non-negative, each row of any scale. Where fewer than
        `top` classes of a row are above zero, what the missing ones would get is divided evenly among all others.
        Raises InputError where the label would not be the likeliest class of its row.
        """
        try:
            matrix = np.asarray(confusion, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"a confusion matrix is a float array [K, K], got {type(confusion).__name__}") from None
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
            raise InputError(f"a confusion matrix is [K, K] of two classes or more, got {list(matrix.shape)}")
        if not (np.isfinite(matrix).all() and (matrix >= 0).all()):
            raise InputError("a confusion matrix has finite values of at least 0; this one has others")
        matrix = matrix / max(matrix.max(), 1)  # sums stay finite
        if self.symmetric:
            matrix = (matrix + matrix.T) / 2
        others = matrix * (1 - np.eye(len(matrix)))
        shares = np.stack([self._shares(row, label) for label, row in enumerate(others)])
        if self.eps * shares.max() >= 1 - self.eps:
            raise InputError(f"with eps {self.eps} another class would be as likely as the label itself; lower it")
        return ((1 - self.eps) * np.eye(len(matrix)) + self.eps * shares).astype(np.float32)

    def _shares(self, others: np.ndarray, label: int) -> np.ndarray:
        """float64 [K], zero at the label, summing to one: who gets the share of this label."""
        top = min(self.top, len(others) - 1)
        chosen = np.argsort(-others, kind="stable")[:top]
        chosen = chosen[others[chosen] > 0]
        share = np.zeros(len(others))
        taken = len(chosen) / top
        if len(chosen):
            weights = others[chosen] if self.weights == "proportional" else np.ones(len(chosen))
            share[chosen] = taken * weights / weights.sum()
        rest = np.ones(len(others), bool)
        rest[[label, *chosen]] = False
        if rest.any():
            share[rest] = (1 - taken) / rest.sum()
        return share / share.sum()


def save_confusion(
    path: Path,
    mean_softmax: np.ndarray,
    images: np.ndarray,
    classes: Sequence[str],
    *,
    overwrite: bool = False,
    **facts: Any,
) -> None:
    """Write mean_softmax float64 [K, K] (true -> predicted), images int64 [K] and class names as HDF5."""
    largest = mean_softmax.nbytes + images.nbytes + bytes_of_rows(len(classes), sum(map(len, classes)) * 4)
    with written_hdf5(path, largest=largest, overwrite=overwrite) as file:
        file.attrs["format"] = FORMAT
        file.attrs["facts"] = json.dumps(facts)
        file["mean_softmax"], file["images"] = mean_softmax, images
        write_text(file, "classes", classes)


def load_confusion(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """mean_softmax float64 [K, K] and the class names; raises InputError for what is no such file."""
    again = "make it with sdali confusion"
    with open_hdf5(path, "a confusion matrix", again) as file:
        if text_attribute(file, "format") != FORMAT:
            raise InputError(f"{path} is no confusion file; {again}")
        matrix = np.asarray(dataset(file, "mean_softmax")[()], np.float64)
        classes = text(dataset(file, "classes"))
    if matrix.shape != (len(classes), len(classes)):
        raise InputError(f"{path} has {len(classes)} classes and a matrix of {list(matrix.shape)}; {again}")
    return matrix, tuple(classes)

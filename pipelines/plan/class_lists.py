"""What orders go by: a list of images for each class. An image may stand in several lists, or in none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class ClassLists:
    """`images` int64 [M], class by class and ascending within, `counts` int64 [C], how many each class has, at least 1.

    `length`: number N of all images, also of those in no list. Classes without images are left out.
    """

    images: np.ndarray
    counts: np.ndarray
    length: int

    def __len__(self) -> int:
        return self.length


Labels = np.ndarray | ClassLists
"""The class of each image, int [N], or lists."""


def lists_of(images: np.ndarray, labels: np.ndarray, length: int) -> ClassLists:
    """Lists from M pairs of image (int64, below `length`) and class; pairs that come again count once."""
    pairs = np.unique(labels.astype(np.int64) * length + images)
    counts = np.bincount(pairs // length)
    return ClassLists(pairs % length, counts[counts > 0], length)


def as_lists(labels: Labels) -> ClassLists:
    """Lists as they are, or of images with one class each; raises InputError for an image without."""
    if isinstance(labels, ClassLists):
        return labels
    unlabelled = int(np.count_nonzero(labels < 0))
    if unlabelled:
        raise InputError(f"{unlabelled} of {len(labels)} samples have no label, which this order needs; use shuffle")
    small = labels.astype(np.min_scalar_type(int(labels.max())))  # radix sort where small
    counts = np.bincount(labels)
    return ClassLists(np.argsort(small, kind="stable"), counts[counts > 0], len(labels))

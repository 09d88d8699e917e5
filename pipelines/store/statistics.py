"""Colour statistics of a set: mean, standard deviation and RGB PCA over every pixel; those of ImageNet, and their file.

Scale: pixels on [0, 1], R, G, B; `covariance` is E[(x - mean)(x - mean)^T] of single pixels, so its eigenvalues are
variances. Images count by their pixels, as in "over the whole training set" (Krizhevsky et al., NIPS 2012).

What multiplies `v_j * a_j`, a_j ~ N(0, 0.1), in PCA lighting is the EIGENVALUE, not its root, on unnormalised [0, 1]
pixels. Krizhevsky writes so, and the values published in fb.resnet.torch, l = (0.2175, 0.0188, 0.0045), are such
eigenvalues: 256 ImageNet photographs measure (0.2093, 0.0173, 0.0045), with roots (0.458, 0.132, 0.067); V diag(l) V^T
has the per-channel deviations (0.284, 0.276, 0.290), the photographs' are (0.279, 0.271, 0.282). Pixels divided by
their deviation would give eigenvalues that sum to 3. The published std (0.229, 0.224, 0.225) is smaller because it is
the mean of each image's own deviation ((0.234, 0.228, 0.225) on those photographs); `measure` takes the set's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.input_files import read_input

_FIELDS = {"mean": (3,), "std": (3,), "covariance": (3, 3), "eigenvalues": (3,), "eigenvectors": (3, 3)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Colour statistics of a set on the [0, 1] scale, float64, R, G, B; read-only arrays.

    `mean`, `std` (3,); `covariance` (3, 3); `eigenvalues` (3,) descending; `eigenvectors` (3, 3), one a column, of unit
    length, the component of largest magnitude positive where measured; `pixels`: how many were measured, 0: unknown.
    """

    mean: np.ndarray
    std: np.ndarray
    covariance: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    pixels: int

    def __post_init__(self) -> None:
        for name, shape in _FIELDS.items():
            array = np.array(getattr(self, name), np.float64)
            if array.shape != shape or not np.isfinite(array).all():
                raise InputError(
                    f"{name} of the statistics must be finite numbers of shape {shape}; measure them again"
                )
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def lighting(self) -> np.ndarray:
        """float64 (3, 3), columns v_j * l_j: `lighting @ a`, a_j ~ N(0, 0.1), is added to [0, 1] pixels."""
        return self.eigenvectors * self.eigenvalues

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**{name: getattr(self, name).tolist() for name in _FIELDS}, "pixels": self.pixels}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The inverse of to_dict; raises InputError for anything else."""
        try:
            arrays = {name: np.array(values[name], np.float64) for name in _FIELDS}
            return cls(**arrays, pixels=int(values["pixels"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"the statistics are incomplete ({error}); measure them again") from None


def _published() -> Statistics:
    """ImageNet as published: mean, std, l and v of fb.resnet.torch (signs kept); the covariance is V diag(l) V^T."""
    eigenvalues = np.array([0.2175, 0.0188, 0.0045])
    eigenvectors = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    return Statistics(
        mean=np.array([0.485, 0.456, 0.406]),
        std=np.array([0.229, 0.224, 0.225]),
        covariance=(eigenvectors * eigenvalues) @ eigenvectors.T,
        eigenvalues=eigenvalues,
        eigenvectors=eigenvectors,
        pixels=0,
    )


IMAGENET = _published()


def statistics_path(store_path: Path) -> Path:
    """STORE.stats.json, beside the store."""
    return store_path.with_name(store_path.name + ".stats.json")


def load(store_path: Path, digest: str) -> Statistics | None:
    """The statistics beside a store, which `sdali stats` wrote; None where there are none.

    Raises InputError for those of another store, which is to say of another digest.
    """
    path = statistics_path(store_path)
    again = f"run sdali stats {store_path} --overwrite"
    try:
        document = _document(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}); {again}") from None
    if document.get("digest") != digest:
        raise InputError(f"{path} was measured on other images than {store_path} holds; {again}")
    return _of(document, path)


def read_statistics(path: str | Path) -> Statistics:
    """Those in a file that `sdali stats --out` wrote, of whatever store; raises InputError for any other file."""
    try:
        document = _document(Path(path))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise InputError(f"cannot read {path} ({reason}); sdali stats STORE --out FILE writes such files") from None
    return _of(document, path)


def _document(path: Path) -> dict[str, Any]:
    document = json.loads(read_input(path))
    return document if isinstance(document, dict) else {}


def _of(document: dict[str, Any], path: str | Path) -> Statistics:
    try:
        return Statistics.from_dict(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None

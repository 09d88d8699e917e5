"""Mean, standard deviation and RGB PCA over every pixel of a set, exact up to the last rounding.

Scale: pixels on [0, 1], R, G, B; `covariance` is E[(x - mean)(x - mean)^T] of single pixels, so its eigenvalues are
variances. Images count by their pixels, as in "over the whole training set" (Krizhevsky et al., NIPS 2012).

What multiplies `v_j * a_j`, a_j ~ N(0, 0.1), in PCA lighting is the EIGENVALUE, not its root, on unnormalised [0, 1]
pixels. Krizhevsky writes so, and the values published in fb.resnet.torch, l = (0.2175, 0.0188, 0.0045), are such
eigenvalues: 256 ImageNet photographs measure (0.2093, 0.0173, 0.0045), with roots (0.458, 0.132, 0.067); V diag(l) V^T
has the per-channel deviations (0.284, 0.276, 0.290), the photographs' are (0.279, 0.271, 0.282). Pixels divided by
their deviation would give eigenvalues that sum to 3. The published std (0.229, 0.224, 0.225) is smaller because it is
the mean of each image's own deviation ((0.234, 0.228, 0.225) on those photographs); `measure` takes the whole set's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadSampleError, InputError
from ..images.header import fault
from ..io.input_files import read_input
from ..io.parallel import ordered_map
from ..io.progress import Track, track
from ..io.publish import write_json

if TYPE_CHECKING:
    from .reader import ImageStore

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


def measure(store: ImageStore, *, workers: int | None = None, progress: Track = track) -> Statistics:
    """Statistics of every pixel of the store, streamed; the same to the last bit whatever the number of workers.

    uint8 pixels make the sums integers, added without any rounding; the one division at the end is rounded once.
    Raises BadSampleError for an image that cannot be decoded.
    """
    images = ordered_map(lambda index: _sums_of(_decoded(store, index)), range(len(store)), workers)
    total = _Sums(0, [0] * 3, [[0] * 3 for _ in range(3)])
    with closing(images), closing(progress(images, len(store), "measuring")) as tracked:
        for sums in tracked:
            total = total + sums
    return total.statistics()


def _decoded(store: ImageStore, index: int) -> np.ndarray:
    """uint8 [H, W, 3], B, G, R, EXIF orientation applied."""
    import cv2  # here, so that reading statistics loads no OpenCV

    (view,) = store.read([index])
    height, width = store.sizes[index].tolist()
    why, image = fault(view, (height, width), store.max_pixels), None
    if why is None:  # before which nothing takes memory for pixels
        image = cv2.imdecode(np.frombuffer(view, np.uint8), cv2.IMREAD_COLOR)
    if image is None or image.shape[:2] != (height, width):
        reason = f"cannot be decoded to its size{f' ({why})' if why else ''}; build the store again with --verify"
        raise BadSampleError(reason, index=index, name=store.names[index], store=store.path)
    return np.asarray(image)


def _sums_of(image: np.ndarray) -> _Sums:
    """Sums of a uint8 B, G, R image, in R, G, B order.

    Products come from sum (a - b)^2 = sum a^2 + sum b^2 - 2 sum ab, because OpenCV has the squares of uint8 differences
    vectorised (0.08 ms for 400 x 450 pixels; float64 matrix products take 1.5). It returns the square of a rounded
    root, which rounds back to the integer below 10^15: 15 gigapixels.
    """
    import cv2

    planes = cv2.split(image)[::-1]
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    second = [
        [(squares[i] + squares[j] - round(cv2.norm(planes[i], planes[j], cv2.NORM_L2SQR))) // 2 for j in range(3)]
        for i in range(3)
    ]
    return _Sums(planes[0].size, [round(cv2.sumElems(plane)[0]) for plane in planes], second)


@dataclass(frozen=True)
class _Sums:
    """Exact sums over uint8 pixels: how many, of each channel, of each product of two channels."""

    pixels: int
    first: list[int]
    second: list[list[int]]

    def __add__(self, other: _Sums) -> _Sums:
        first = [a + b for a, b in zip(self.first, other.first, strict=True)]
        second = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(self.second, other.second, strict=True)]
        return _Sums(self.pixels + other.pixels, first, second)

    def statistics(self) -> Statistics:
        n, first, second = self.pixels, self.first, self.second
        mean = np.array([value / (255 * n) for value in first])
        # n * second - first * first is exact; Python rounds the quotient of two integers once.
        scale = (255 * n) ** 2
        covariance = np.array([[(n * second[i][j] - first[i] * first[j]) / scale for j in range(3)] for i in range(3)])
        eigenvalues, eigenvectors = np.linalg.eigh(covariance)
        eigenvalues, eigenvectors = np.maximum(eigenvalues[::-1], 0.0), eigenvectors[:, ::-1]
        largest = eigenvectors[np.abs(eigenvectors).argmax(0), range(3)]
        return Statistics(
            mean=mean,
            std=np.sqrt(np.diag(covariance)),
            covariance=covariance,
            eigenvalues=eigenvalues,
            eigenvectors=eigenvectors * np.where(largest < 0, -1.0, 1.0),
            pixels=n,
        )


def statistics_path(store_path: Path) -> Path:
    """STORE.stats.json, beside the store."""
    return store_path.with_name(store_path.name + ".stats.json")


def save(store: ImageStore, statistics: Statistics, *, overwrite: bool = False) -> Path:
    """Write the statistics beside the store, with its digest; returns the path.

    overwrite: whether statistics that are there already are replaced; without, InputError is raised for them.
    """
    path = statistics_path(store.path)
    document = {"digest": store.digest, "scale": "RGB pixels on [0, 1]", **statistics.to_dict()}
    write_json(path, document, overwrite=overwrite)
    return path


def load(store: ImageStore) -> Statistics | None:
    """What `save` wrote for this store, None where nothing was; raises InputError for another store's statistics."""
    path = statistics_path(store.path)
    try:
        document = json.loads(read_input(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} ({error}); run sdali stats {store.path} again") from None
    if not isinstance(document, dict) or document.get("digest") != store.digest:
        raise InputError(f"{path} was measured on other images than {store.path} holds; run sdali stats {store.path}")
    try:
        return Statistics.from_dict(document)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None

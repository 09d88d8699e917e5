"""What a store holds: a summary of its index, the colours of its images, and how often each class is in its masks.

The colours are `statistics` to normalise by; rare-class maps and class weights are made from the frequencies. A mask
costs its decoding and a count, 0.8 ms for 480 x 360 px, on threads: 0.15 s for the 367 of CamVid on two cores.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import BadSampleError, InputError
from ..images.opencv import decode_bgr
from ..io.parallel import ordered_map
from ..io.progress import Track, silent, track
from ..io.publish import write_json
from .reader import ImageStore, check_masks_of_classes
from .statistics import IMAGENET, Statistics, read_statistics, statistics_path


def measure(store: ImageStore, *, workers: int | None = None, progress: Track = track) -> Statistics:
    """Statistics of every pixel of the store, streamed; the same to the last bit whatever the number of workers.

    uint8 pixels make the sums integers, added without any rounding; the one division at the end is rounded once.
    Raises BadSampleError for an image that cannot be decoded.
    """
    images = ordered_map(lambda index: _moments(_decoded(store, index)), range(len(store)), workers)
    total = np.zeros((4, 4), object)
    with closing(images), closing(progress(images, len(store), "measuring")) as tracked:
        for moments in tracked:
            total = total + moments
    return _statistics(total)


def save(store: ImageStore, statistics: Statistics, path: str | Path | None = None, *, overwrite: bool = False) -> Path:
    """Write the statistics with the store's digest to `path`, None: beside the store; returns the path.

    overwrite: whether a file that is there already is replaced; without, InputError is raised for it.
    """
    path = Path(path or statistics_path(store.path))
    document = {"digest": store.digest, "scale": "RGB pixels on [0, 1]", **statistics.to_dict()}
    write_json(path, document, overwrite=overwrite)
    return path


def opened_statistics(statistics: Statistics | str | Path | None, store: ImageStore) -> Statistics:
    """Those given or in the file, else the store's own, else ImageNet's; a pair (mean, std) is refused."""
    if statistics is None:
        return store.statistics or IMAGENET
    if isinstance(statistics, str | Path):
        return read_statistics(statistics)
    if not isinstance(statistics, Statistics):
        kind = type(statistics).__name__
        raise InputError(f"statistics are a Statistics, dataclasses.replace(IMAGENET, mean=..., std=...), got {kind}")
    return statistics


def _decoded(store: ImageStore, index: int) -> np.ndarray:
    """uint8 [H, W, 3], B, G, R, EXIF orientation applied."""
    (view,) = store.read([index])
    height, width = store.sizes[index].tolist()
    try:
        return decode_bgr(view, (height, width), store.max_pixels)
    except InputError as error:
        reason = f"cannot be decoded to its size ({error}); build the store again with --verify"
        raise BadSampleError(reason, index=index, name=store.names[index], store=store.path) from None


def _moments(image: np.ndarray) -> np.ndarray:
    """Sums over a uint8 B, G, R image of the products of (1, R, G, B) with itself: Python integers [4, 4], exact.

    Products come from sum (a - b)^2 = sum a^2 + sum b^2 - 2 sum ab, because OpenCV has the squares of uint8 differences
    vectorised (0.08 ms for 400 x 450 pixels; float64 matrix products take 1.5). It returns the square of a rounded
    root, which rounds back to the integer below 10^15: 15 gigapixels.
    """
    import cv2

    planes = cv2.split(image)[::-1]
    squares = [round(cv2.norm(plane, cv2.NORM_L2SQR)) for plane in planes]
    moments = np.empty((4, 4), object)
    moments[0, 0] = planes[0].size
    moments[0, 1:] = moments[1:, 0] = [round(cv2.sumElems(plane)[0]) for plane in planes]
    for i, j in np.ndindex(3, 3):
        difference = round(cv2.norm(planes[i], planes[j], cv2.NORM_L2SQR))
        moments[1 + i, 1 + j] = (squares[i] + squares[j] - difference) // 2
    return moments


def _statistics(moments: np.ndarray) -> Statistics:
    """What follows from the moments of all pixels."""
    n, first, second = moments[0, 0], moments[0, 1:], moments[1:, 1:]
    # The integers are exact, and Python rounds the quotient of two of them once.
    mean = (first / (255 * n)).astype(np.float64)
    covariance = ((n * second - np.outer(first, first)) / (255 * n) ** 2).astype(np.float64)
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


class ClassFrequencies(NamedTuple):
    """Counts of pixels over the whole store, int64 [K] each; ignored pixels are of no class."""

    pixels: np.ndarray
    """Pixels of each class."""

    where_present: np.ndarray
    """All pixels of the images in which the class occurs, ignored ones included."""

    def median_frequency_weights(self) -> np.ndarray:
        """float64 [K]: the median frequency of the classes, divided by that of each; 0 for one that never occurs.

        The frequency of a class is its share of the pixels of the images in which it occurs. Source: Eigen and Fergus
        2015, section 6.3.2; used by SegNet.
        """
        weights = np.zeros(len(self.pixels))
        occurs = self.pixels > 0
        frequency = self.pixels[occurs] / self.where_present[occurs]
        weights[occurs] = np.median(frequency) / frequency if occurs.any() else 0
        return weights


def class_frequencies(store: ImageStore, *, workers: int | None = None, progress: Track = silent) -> ClassFrequencies:
    """Count the pixels of every mask.

    Raises InputError for a store without masks of classes, BadSampleError for a mask that is damaged or has a value
    that is neither a class nor the ignore index.
    """
    check_masks_of_classes(store)
    classes = len(store.classes)
    pixels, where_present = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    counts = ordered_map(lambda index: _counts(store, index), range(len(store)), workers)
    with closing(counts), closing(progress(counts, len(store), "counting")) as tracked:
        for count in tracked:
            pixels += count[:classes]
            where_present += np.where(count[:classes] > 0, count.sum(), 0)
    return ClassFrequencies(pixels, where_present)


def _counts(store: ImageStore, index: int) -> np.ndarray:
    """int64 [256]: pixels of each value of one mask."""
    counts = np.bincount(store.mask(index).ravel(), minlength=256)
    beyond = np.flatnonzero(counts[len(store.classes) :]) + len(store.classes)
    if unknown := [value for value in beyond.tolist() if value != store.ignore_index]:
        reason = f"has a mask with the value {unknown[0]}, none of the {len(store.classes)} classes; build it again"
        raise BadSampleError(reason, index=index, name=store.names[index], store=store.path)
    return counts


def summary(store: ImageStore) -> dict[str, Any]:
    """Figures of a store, from its index alone.

    `classes` holds the number of images of each class and `unlabelled` that of images without one. Where the classes
    are those of objects (no image has one), `classes` holds the number of images that have objects of each class; where
    they are those of pixels, the names alone. `height` and `width` have min, mean and max, in pixels. Where there are
    boxes, `objects` holds the number of boxes of each class; `difficult` and `images_without_objects` are counts.
    """
    of_pixels, of_objects = store.ignore_index is not None, has_classes_of_objects(store)
    objects = _objects(store) if store.has_boxes else {}
    with_objects = objects.pop("images_with_objects", {})
    classes = with_objects if of_objects else _by_class(store, store.labels[store.labels >= 0])
    return {
        "store": str(store.path),
        "images": len(store),
        "classes": list(store.classes) if of_pixels else classes,
        **({} if of_pixels or of_objects else {"unlabelled": int((store.labels < 0).sum())}),
        "bytes": store.file_bytes,
        "height": _range(store.sizes[:, 0]),
        "width": _range(store.sizes[:, 1]),
        "masks": store.has_masks,
        "ignore_index": store.ignore_index,
        "boxes": store.has_boxes,
        **objects,
        "digest": store.digest,
        "statistics": store.statistics is not None,
        "provenance": store.header["provenance"],
    }


def has_classes_of_objects(store: ImageStore) -> bool:
    """Whether the classes are those of objects, as of VOC and COCO: there are boxes, and no image has a class."""
    return store.has_boxes and store.ignore_index is None and bool((store.labels < 0).all())


def _by_class(store: ImageStore, labels: np.ndarray) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(store.classes)).tolist()
    return dict(zip(store.classes, counts, strict=True))


def _objects(store: ImageStore) -> dict[str, Any]:
    objects = store.objects()
    kinds = max(len(store.classes), 1)
    pairs = np.unique(objects.images * kinds + objects.labels)  # an image once for each of its classes
    return {
        "images_with_objects": _by_class(store, pairs % kinds),
        "objects": _by_class(store, objects.labels),
        "difficult": int(objects.difficult.sum()),
        "images_without_objects": len(store) - len(np.unique(objects.images)),
    }


def _range(values: np.ndarray) -> dict[str, float]:
    return {"min": int(values.min()), "mean": round(float(values.mean()), 1), "max": int(values.max())}

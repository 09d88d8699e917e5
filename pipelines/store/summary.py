"""What a store holds, as one JSON-able dictionary: counts by class, sizes, masks, boxes, and how it was built."""

from __future__ import annotations

from typing import Any

import numpy as np

from .reader import ImageStore


def summary(store: ImageStore) -> dict[str, Any]:
    """Figures of a store, from its index alone.

    `classes` holds the number of images of each class, or only the names where the classes are those of pixels;
    `unlabelled` counts images without a class; `height` and `width` have min, mean and max, in pixels. Where there are
    boxes, `objects` holds the number of boxes of each class; `difficult` and `images_without_objects` are counts.
    """
    of_pixels = store.ignore_index is not None
    return {
        "store": str(store.path),
        "images": len(store),
        "classes": list(store.classes) if of_pixels else _by_class(store, store.labels[store.labels >= 0]),
        "unlabelled": int((store.labels < 0).sum()),
        "bytes": store.file_bytes,
        "height": _range(store.sizes[:, 0]),
        "width": _range(store.sizes[:, 1]),
        "masks": store.has_masks,
        "ignore_index": store.ignore_index,
        "boxes": store.has_boxes,
        **(_objects(store) if store.has_boxes else {}),
        "digest": store.digest,
        "statistics": store.statistics is not None,
        "provenance": store.header["provenance"],
    }


def _by_class(store: ImageStore, labels: np.ndarray) -> dict[str, int]:
    counts = np.bincount(labels, minlength=len(store.classes)).tolist()
    return dict(zip(store.classes, counts, strict=True))


def _objects(store: ImageStore) -> dict[str, Any]:
    objects = store.objects()
    return {
        "objects": _by_class(store, objects.labels),
        "difficult": int(objects.difficult.sum()),
        "images_without_objects": len(store) - len(np.unique(objects.images)),
    }


def _range(values: np.ndarray) -> dict[str, float]:
    return {"min": int(values.min()), "mean": round(float(values.mean()), 1), "max": int(values.max())}

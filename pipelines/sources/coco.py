"""The COCO source: one JSON file of images, annotations and categories, beside a folder of images.

Boxes are x, y, width, height from the upper left corner, in continuous pixels of the image as it is seen; crowds
(iscrowd) are kept as difficult. Segmentations and all else are left out. The whole file is held in memory while the
build begins.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.input_files import read_input
from ..store.boxes import Boxes
from .folder import path_inside
from .source import LazyItems, Loaded, Source, SourceItem, read_file

_LISTS = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}


def coco(images: str | Path, annotations: str | Path) -> Source:
    """Images that the JSON file `annotations` lists, in its order, with their objects; labels of images are -1.

    Classes are the categories, in the order of their ids. Images without objects are kept. Raises InputError for a
    file that is no JSON or lacks what COCO has, for ids that come twice, and for annotations of an image or category
    that is not there; at its turn each image is refused that is missing or lies outside the folder.
    """
    root, path = Path(images), Path(annotations)
    if not root.is_dir():
        raise InputError(f"{root} is no folder; name the one that holds the images of {path}")
    lists = _lists(path)
    categories = sorted(lists["categories"], key=lambda one: one["id"])
    classes = tuple(one["name"] for one in categories)
    for what, values in {
        "image id": [one["id"] for one in lists["images"]],
        "file_name": [one["file_name"] for one in lists["images"]],
        "annotation id": [one["id"] for one in lists["annotations"] if isinstance(one.get("id"), int)],
        "category id": [one["id"] for one in categories],
        "category name": classes,
    }.items():
        for value, times in Counter(values).most_common(1):
            if times > 1:
                raise InputError(f"{path} has the {what} {value!r} {times} times; give each once")
    return Source(
        classes=classes,
        items=_CocoItems(root, lists["images"], *_by_image(path, lists, categories)),
        has_boxes=True,
        description=f"COCO {path}, images {root}",
    )


def _lists(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists, each entry with what is read of it, of the right type."""
    try:
        document = json.loads(read_input(path))
    except OSError as error:
        raise InputError(f"cannot read the annotations {path}: {error.strerror}; correct --annotations") from None
    except RecursionError:
        raise InputError(f"{path} is nested too deep to be COCO annotations; give another file") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); give COCO annotations") from None
    for name, keys in _LISTS.items():
        entries = document.get(name) if isinstance(document, dict) else None
        if not isinstance(entries, list) or (not entries and name != "annotations"):
            raise InputError(f"{path} has no list of {name}, as COCO has; give COCO annotations")
        for place, entry in enumerate(entries):
            for key, kind in keys.items():
                value = entry.get(key) if isinstance(entry, dict) else None
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise InputError(f"{path} has no {key} ({kind.__name__}) in {name}[{place}]; give COCO annotations")
    return document


def _by_image(
    path: Path, lists: dict[str, list[dict[str, Any]]], categories: list[dict[str, Any]]
) -> tuple[Boxes, np.ndarray]:
    """All boxes, float64, image by image, and int64 [images + 1], where those of each image begin."""
    place_of = {one["id"]: place for place, one in enumerate(lists["images"])}
    label_of = {one["id"]: label for label, one in enumerate(categories)}
    places, labels, crowds, xywh = [], [], [], []
    for number, one in enumerate(lists["annotations"]):
        for key, known in (("image_id", place_of), ("category_id", label_of)):
            if one[key] not in known:
                raise InputError(f"{path} has annotations[{number}] of {key} {one[key]}, which is not in its lists")
        places.append(place_of[one["image_id"]])
        labels.append(label_of[one["category_id"]])
        crowds.append(_is_crowd(path, number, one.get("iscrowd")))
        xywh.append(_numbers(path, number, one["bbox"]))
    order = np.argsort(np.array(places, np.int64), kind="stable")
    edges = np.array(xywh, np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no number then is refused at its image's turn
        edges[:, 2:] += edges[:, :2]
    counts = np.bincount(np.array(places, np.int64), minlength=len(place_of))
    boxes = Boxes(edges, np.array(labels, np.int64), np.array(crowds, bool)).at(order)
    return boxes, np.concatenate([[0], counts.cumsum()])


def _is_crowd(path: Path, number: int, flag: object) -> bool:
    if flag not in (None, 0, 1):  # False and True are these numbers
        raise InputError(f"{path} has iscrowd {str(flag)[:60]!r} in annotations[{number}], which is 0 or 1; correct it")
    return bool(flag)


def _numbers(path: Path, number: int, bbox: list[Any]) -> list[float]:
    if len(bbox) != 4 or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in bbox):
        raise InputError(f"{path} has the bbox {str(bbox)[:60]} in annotations[{number}], not x, y, width, height")
    try:
        return [float(value) for value in bbox]
    except OverflowError:  # an integer of hundreds of digits
        return [float("inf")] * 4


class _CocoItems(LazyItems):
    """Names, sizes and boxes; images are read when asked for."""

    def __init__(self, root: Path, images: list[dict[str, Any]], boxes: Boxes, begins: np.ndarray) -> None:
        self._root, self._boxes, self._begins = root, boxes, begins
        self._names = [one["file_name"] for one in images]
        self._sizes = [(one.get("height"), one.get("width")) for one in images]

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> SourceItem:
        name, (height, width) = self._names[index], self._sizes[index]
        boxes = self._boxes.at(np.arange(self._begins[index], self._begins[index + 1]))

        def load() -> Loaded:
            path = path_inside(self._root, name)
            try:
                data = read_file(path)
            except FileNotFoundError:
                raise InputError(f"is in the annotations, but {self._root} has no such image") from None
            size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
            return Loaded(data, boxes=boxes, size=size)

        return SourceItem(name, -1, load)

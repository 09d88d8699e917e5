"""The format coco: one JSON file of images, annotations and categories, beside a folder of images.

Boxes are x, y, width, height from the upper left corner, in continuous pixels of the image as it is seen; crowds
(iscrowd) are kept as difficult, and so are the areas of the outlines and the ids of images and categories, which files
of results name. Segmentations and all else are left out. The whole file is in memory while the lists are read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.input_files import read_json
from ..store.boxes import Boxes
from .registry import source_format
from .side_files import read_inside
from .source import LazyItems, Loaded, Source, SourceItem

_LARGEST_ID = (1 << 63) - 1
_LARGEST_AREA = 1e300  # px²; what is above it is infinite, or an integer that no float holds

_LISTS = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int, "bbox": list},
    "categories": {"id": int, "name": str},
}


@dataclass(frozen=True, kw_only=True)
class CocoOptions:
    """A folder of images, and a JSON file of annotations as COCO writes them."""

    annotations: Path
    """The JSON file."""


@source_format("coco", CocoOptions)
def coco(images: str | Path, options: CocoOptions) -> Source:
    """The images that the JSON file lists, in its order, with their objects' boxes; labels of images are -1.

    Classes are the categories, in the order of their ids. Images without objects are kept. An annotation without
    an area has that of its box. Raises InputError for a file that is not JSON or lacks what COCO has, for ids that come
    twice, and for annotations of an image or category that is not there; at its turn each image is refused that is
    missing or lies outside the folder.
    """
    root, path = Path(images), Path(options.annotations)
    if not root.is_dir():
        raise InputError(f"{root} is no folder; name the one that holds the images of {path}")
    lists = _lists(path)
    categories = sorted(lists["categories"], key=lambda one: one["id"])
    _check_unique(path, lists)
    _check_range(path, lists["images"])
    boxes, begins = _by_image(path, lists, categories)
    entries = [(one["file_name"], one.get("height"), one.get("width"), one["id"]) for one in lists["images"]]

    def item(index: int) -> SourceItem:
        name, height, width, image_id = entries[index]

        def load() -> Loaded:
            data = read_inside(root, name, "is in the annotations")
            size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
            return Loaded(data, boxes=boxes.at(np.arange(begins[index], begins[index + 1])), size=size)

        return SourceItem(name, -1, load, image_id=image_id)

    return Source(
        classes=tuple(one["name"] for one in categories),
        items=LazyItems(len(entries), item),
        has_boxes=True,
        category_ids=tuple(one["id"] for one in categories),
        has_areas=True,
        description=f"COCO {path}, images {root}",
    )


def _lists(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The three lists of the file, checked: each entry has the keys that are read, of the right type."""
    document = read_json(path, "COCO annotations")
    for name, keys in _LISTS.items():
        entries = document.get(name) if isinstance(document, dict) else None
        if not isinstance(entries, list) or (not entries and name != "annotations"):
            raise InputError(f"{path} has no list of {name}, as COCO has; give COCO annotations")
        for number, entry in enumerate(entries):
            for key, kind in keys.items():
                value = entry.get(key) if isinstance(entry, dict) else None
                if not isinstance(value, kind) or isinstance(value, bool):
                    raise InputError(
                        f"{path} has no {key} ({kind.__name__}) in {name}[{number}]; give COCO annotations"
                    )
    return document


def _check_unique(path: Path, lists: dict[str, list[dict[str, Any]]]) -> None:
    """Raise InputError where an id or a name comes twice. Only annotations may lack an id."""
    for list_name, key, what in [
        ("images", "id", "image id"),
        ("images", "file_name", "file_name"),
        ("annotations", "id", "annotation id"),
        ("categories", "id", "category id"),
        ("categories", "name", "category name"),
    ]:
        counts = Counter(one[key] for one in lists[list_name] if isinstance(one.get(key), int | str))
        for value, times in counts.most_common(1):
            if times > 1:
                raise InputError(f"{path} has the {what} {value!r} {times} times; give each once")


def _check_range(path: Path, images: list[dict[str, Any]]) -> None:
    if wrong := [one["id"] for one in images if not -_LARGEST_ID <= one["id"] <= _LARGEST_ID]:
        raise InputError(
            f"{path} has the image id {str(wrong[0])[:60]}, which is beyond 64 bits; number the images anew"
        )


def _by_image(
    path: Path, lists: dict[str, list[dict[str, Any]]], categories: list[dict[str, Any]]
) -> tuple[Boxes, np.ndarray]:
    """All boxes, float64, image by image, and where those of each image begin, int64 [images + 1]."""
    image_of = {one["id"]: index for index, one in enumerate(lists["images"])}
    label_of = {one["id"]: label for label, one in enumerate(categories)}
    images, labels, crowds, xywh, areas = [], [], [], [], []
    for number, one in enumerate(lists["annotations"]):
        for key, known in (("image_id", image_of), ("category_id", label_of)):
            if one[key] not in known:
                raise InputError(f"{path} has annotations[{number}] of {key} {one[key]}, which is not in its lists")
        images.append(image_of[one["image_id"]])
        labels.append(label_of[one["category_id"]])
        if (crowd := one.get("iscrowd")) not in (None, 0, 1):  # False and True are these numbers
            raise InputError(f"{path} has iscrowd {str(crowd)[:60]!r} in annotations[{number}], which is 0 or 1")
        crowds.append(bool(crowd))
        xywh.append(_xywh(path, number, one["bbox"]))
        areas.append(_area(path, number, one.get("area"), xywh[-1]))
    order = np.argsort(np.array(images, np.int64), kind="stable")
    edges = np.array(xywh, np.float64).reshape(-1, 4)
    with np.errstate(invalid="ignore", over="ignore"):  # a result that is no number is refused at its image's turn
        edges[:, 2:] += edges[:, :2]
    counts = np.bincount(np.array(images, np.int64), minlength=len(image_of))
    flags = np.array(labels, np.int64), np.array(crowds, bool)
    boxes = Boxes(edges, *flags, areas=np.array(areas, np.float64)).at(order)
    return boxes, np.concatenate([[0], counts.cumsum()])


def _area(path: Path, number: int, area: Any, xywh: list[float]) -> float:
    if area is None:
        return xywh[2] * xywh[3]
    if isinstance(area, bool) or not isinstance(area, int | float) or not abs(area) < _LARGEST_AREA:
        raise InputError(f"{path} has the area {str(area)[:60]!r} in annotations[{number}], not a number of px²")
    return float(area)


def _xywh(path: Path, number: int, bbox: list[Any]) -> list[float]:
    if len(bbox) != 4 or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in bbox):
        raise InputError(f"{path} has the bbox {str(bbox)[:60]} in annotations[{number}], not x, y, width, height")
    try:
        return [float(value) for value in bbox]
    except OverflowError:  # an integer of hundreds of digits
        return [float("inf")] * 4

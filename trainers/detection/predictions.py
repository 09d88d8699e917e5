"""Detections kept in COCO's results format: a JSON list of {"image_id", "category_id", "bbox", "score"}.

Image numbers are samples of the store, categories count from 1, boxes are x, y, width, height of continuous edges: what
was float32 is read back bit for bit. Beside COCO's four, each entry names its file and class, so that a file that
belongs to other images or classes is refused, and other tools may put in the numbers of their own annotation file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import read_input
from ...pipelines.io.outputs import DETECTIONS
from ...pipelines.io.small_files import write_output
from ..metrics.detection_record import DetectionRecord
from ..metrics.detections import Detections


class NamedImages(Protocol):
    """What an image store says about its images."""

    @property
    def path(self) -> Path: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def names(self) -> Sequence[str]: ...


def write_coco_predictions(path: str | Path, record: DetectionRecord, store: NamedImages) -> None:
    """Write the record's detections, by image number, replacing what was there; InputError where that is impossible."""
    rows = record.detections[record.detections[:, 0].argsort(stable=True)].tolist()
    entries = [
        {
            "image_id": int(image),
            "category_id": int(place) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "score": score,
            "file_name": store.names[int(image)],
            "category": store.classes[int(place)],
        }
        for image, place, score, left, top, right, bottom in rows
    ]
    text = "[\n" + ",\n".join(json.dumps(entry) for entry in entries) + "\n]\n"
    write_output(path, text.encode(), DETECTIONS)


def read_coco_predictions(path: str | Path, store: NamedImages) -> list[Detections]:
    """The detections in each of the store's images, in float32; of images that the file does not mention, none.

    Raises InputError for a file that is missing or no such list, for a number that is not finite, a negative side,
    and for images or classes that are not the store's.
    """
    rows: list[list[tuple[list[float], float, int]]] = [[] for _ in store.names]
    for number, entry in enumerate(_entries(Path(path))):
        try:
            image, box, score, place = _checked(entry, store)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise InputError(f"prediction {number} of {path} cannot be used: {reason}; correct the file") from error
        rows[image].append((box, score, place))
    return [_detections(found) for found in rows]


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(read_input(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; name a file of predictions") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}; give a list of predictions in COCO's results format") from error
    if not isinstance(entries, list):
        raise InputError(f"{path} holds no list; give a list of predictions in COCO's results format")
    return entries


def _checked(entry: Any, store: NamedImages) -> tuple[int, list[float], float, int]:
    """Image, box xyxy, score and class; raises KeyError, TypeError or ValueError with a reason."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object with image_id, category_id, bbox and score")
    image, category, bbox, score = (entry[key] for key in ("image_id", "category_id", "bbox", "score"))
    images, classes = len(store.names), len(store.classes)
    if type(image) is not int or not 0 <= image < images:
        raise ValueError(f"image_id {image!r} is not one of the {images} images of {store.path}, 0 to {images - 1}")
    if type(category) is not int or not 1 <= category <= classes:
        raise ValueError(f"category_id {category!r} is not one of the {classes} classes of {store.path}, from 1")
    if (name := entry.get("file_name", store.names[image])) != store.names[image]:
        raise ValueError(f"image {image} is {name} there and {store.names[image]} in {store.path}")
    if (name := entry.get("category", store.classes[category - 1])) != store.classes[category - 1]:
        raise ValueError(f"class {category} is {name} there and {store.classes[category - 1]} in {store.path}")
    numbers = [*bbox, score]
    if any(isinstance(one, (bool, str)) for one in numbers) or len(numbers) != 5:
        raise ValueError("bbox must be four numbers and score one")
    left, top, width, height, score = (float(one) for one in numbers)
    if not all(map(math.isfinite, (left, top, width, height, score))) or width < 0 or height < 0:
        raise ValueError(f"bbox {bbox} and score {score} must be finite numbers and no side negative")
    return image, [left, top, left + width, top + height], score, category - 1


def _detections(found: list[tuple[list[float], float, int]]) -> Detections:
    return Detections(
        torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([score for _, score, _ in found], dtype=torch.float32),
        torch.tensor([place for _, _, place in found], dtype=torch.int64),
    )

"""Generated scenes as a source, for machines without data: any number of pictures, with true masks and boxes.

Each item is a pure function of (seed, index), made when its turn comes, on any thread. Everything is our choice.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.bounds import at_most, checked_seed
from ...pipelines.sources.source import LazyItems, Loaded, Source, SourceItem
from ...pipelines.store.boxes import Boxes
from .objects import CLASSES
from .render import DISTRACTOR, OBJECT, render_scene

QUALITY = (75, 95)  # of the JPEG, uniform
MOST_OBJECTS = 10  # beyond it most find no place
_OBJECTS_DRAWN = 2**128  # a part of Philox's stream that the scene itself never reaches


def scenes(count: int, *, seed: int = 0, classes: int = 6, objects: int = 1) -> Source:
    """`count` scenes: JPEG, mask (0 ground, 1 object, 2 distractor) and the tight box of each object's visible pixels.

    With `objects` of 1 each has one object, of `classes` classes in turn, which is also the image's class. With more
    each has 1 to `objects`, as many of each number (but for those that find no place beside the others), of classes at
    random, and images have no class. Raises InputError for a count below 1, a seed outside [0, 2^64), more objects than
    a scene has room for, or fewer than 2 or more classes than there are.
    """
    if count < 1:
        raise InputError(f"the number of scenes must be at least 1, got {count}")
    at_most("count", count, 10_000_000)
    if not 2 <= classes <= len(CLASSES):
        raise InputError(f"scenes have 2 to {len(CLASSES)} classes, got {classes}")
    seed = checked_seed(seed)
    if not 1 <= objects <= MOST_OBJECTS:
        raise InputError(f"scenes have 1 to {MOST_OBJECTS} objects, got {objects}")
    names = tuple(CLASSES)[:classes]
    return Source(
        classes=names,
        items=_Scenes(count, seed, names, objects),
        has_masks=True,
        has_boxes=True,
        description=f"{count} scenes, seed {seed}" + (f", up to {objects} objects" if objects > 1 else ""),
    )


class _Scenes(LazyItems):
    """Pictures that are drawn when they are loaded."""

    def __init__(self, count: int, seed: int, names: tuple[str, ...], objects: int) -> None:
        self._count, self._seed, self._names, self._objects = count, seed, names, objects

    def __len__(self) -> int:
        return self._count

    def item(self, index: int) -> SourceItem:
        if self._objects > 1:
            load = partial(_crowded, self._seed, index, self._names, self._objects)
            return SourceItem(f"{index:07d}.jpg", -1, load)
        label = index % len(self._names)
        load = partial(_scene, self._seed, index, self._names, [label])
        return SourceItem(f"{self._names[label]}/{index:07d}.jpg", label, load)


def _crowded(seed: int, index: int, names: tuple[str, ...], most: int) -> Loaded:
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64), counter=_OBJECTS_DRAWN))
    return _scene(seed, index, names, rng.integers(len(names), size=1 + index % most).tolist())


def _scene(seed: int, index: int, names: tuple[str, ...], labels: list[int]) -> Loaded:
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    image, values = render_scene(rng, [CLASSES[names[label]] for label in labels])
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    boxes, shown = [], []
    for number, label in enumerate(labels):
        y, x = np.nonzero(values == (OBJECT if number == 0 else DISTRACTOR + number))
        if y.size:
            boxes.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
            shown.append(label)
    mask = np.where(values > DISTRACTOR, OBJECT, values).astype(np.uint8)
    found = Boxes(np.array(boxes, np.float32), np.array(shown), np.zeros(len(shown), bool))
    return Loaded(data.tobytes(), cv2.imencode(".png", mask)[1].tobytes(), found)

"""The format scenes: generated pictures with true masks and boxes, any number of them, for machines without data.

Each item is a pure function of (seed, index), made when its turn comes, on any thread. Everything is our choice. The
format registers itself as those in pipelines/sources do, although it lives outside that folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.bounds import at_most, checked_seed
from ...pipelines.sources.registry import source_format
from ...pipelines.sources.source import LazyItems, Loaded, Source, SourceItem
from ...pipelines.store.boxes import Boxes
from .objects import CLASSES
from .render import DISTRACTOR, OBJECT, render_scene

QUALITY = (75, 95)  # of the JPEG, uniform
MOST_OBJECTS = 10  # most of any more do not fit in
_OBJECTS_DRAWN = 2**128  # a part of Philox's stream that the drawing of the scene never reaches


@dataclass(frozen=True, kw_only=True)
class ScenesOptions:
    """Generated pictures with masks and boxes; SOURCE is their number."""

    classes: int = 6
    """Number of classes, 2 to 8."""

    objects: int = 1
    """Largest number of objects in a picture, 1 to 10. With 1, an image has the class of its object; with more, objects
    have classes at random and images have none."""

    seed: int = 0
    """Another seed gives other pictures."""


@source_format("scenes", ScenesOptions)
def scenes(count: int | str, options: ScenesOptions) -> Source:
    """`count` scenes: JPEG, mask (0 ground, 1 object, 2 distractor) and the tight box of each object's visible pixels.

    With `objects` of 1 the classes come in turn. With more each picture has 1 to `objects`, each number equally often,
    but for objects that do not fit in beside the others. Raises InputError for a count below 1, a seed outside
    [0, 2^64), more objects than a scene has room for, or fewer than 2 or more classes than there are.
    """
    if isinstance(count, str):
        if not count.isdecimal():
            raise InputError(f"the format scenes takes the number of pictures, got {count!r}")
        count = int(count)
    if count < 1:
        raise InputError(f"the number of scenes must be at least 1, got {count}")
    at_most("count", count, 10_000_000)
    if not 2 <= options.classes <= len(CLASSES):
        raise InputError(f"scenes have 2 to {len(CLASSES)} classes, got {options.classes}")
    seed, objects = checked_seed(options.seed), options.objects
    if not 1 <= objects <= MOST_OBJECTS:
        raise InputError(f"scenes have 1 to {MOST_OBJECTS} objects, got {objects}")
    names = tuple(CLASSES)[: options.classes]

    def item(index: int) -> SourceItem:
        if objects > 1:
            return SourceItem(f"{index:07d}.jpg", -1, partial(_crowded, seed, index, names, objects))
        label = index % len(names)
        return SourceItem(f"{names[label]}/{index:07d}.jpg", label, partial(_scene, seed, index, names, [label]))

    description = f"{count} scenes, seed {seed}" + (f", up to {objects} objects" if objects > 1 else "")
    return Source(names, LazyItems(count, item), has_masks=True, has_boxes=True, description=description)


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
    visible = Boxes(np.array(boxes, np.float32), np.array(shown), np.zeros(len(shown), bool))
    return Loaded(data.tobytes(), cv2.imencode(".png", mask)[1].tobytes(), visible)

"""Generated scenes as a source, for machines without data: any number of pictures, with true masks and boxes.

Each item is a pure function of (seed, index), made when its turn comes, on any thread. Everything is our choice.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from .errors import InputError
from .scene_objects import CLASSES
from .scene_render import OBJECT, render_scene
from .sources import LazyItems, Loaded, Source, SourceItem

QUALITY = (75, 95)  # of the JPEG, uniform


def scenes(count: int, *, seed: int = 0, classes: int = 6) -> Source:
    """`count` scenes with one object each, of `classes` classes in turn: JPEG, mask (0 ground, 1 object, 2 distractor)
    and the tight box of the object's visible pixels, of its class.

    Raises InputError for a count below 1, a seed outside [0, 2^64), or fewer than 2 or more classes than there are.
    """
    if count < 1:
        raise InputError(f"the number of scenes must be at least 1, got {count}")
    if not 2 <= classes <= len(CLASSES):
        raise InputError(f"scenes have 2 to {len(CLASSES)} classes, got {classes}")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed must be within [0, 2^64), got {seed}")
    names = tuple(CLASSES)[:classes]
    return Source(
        classes=names,
        items=_Scenes(count, seed, names),
        has_masks=True,
        has_boxes=True,
        description=f"{count} scenes, seed {seed}",
    )


class _Scenes(LazyItems):
    """Pictures that are drawn when they are loaded."""

    def __init__(self, count: int, seed: int, names: tuple[str, ...]) -> None:
        self._count, self._seed, self._names = count, seed, names

    def __len__(self) -> int:
        return self._count

    def item(self, index: int) -> SourceItem:
        label = index % len(self._names)
        name = self._names[label]
        return SourceItem(f"{name}/{index:07d}.jpg", label, partial(_scene, self._seed, index, name, label))


def _scene(seed: int, index: int, name: str, label: int) -> Loaded:
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))
    image, mask = render_scene(rng, CLASSES[name])
    quality = int(rng.integers(QUALITY[0], QUALITY[1] + 1))
    data = cv2.imencode(".jpg", np.ascontiguousarray(image[:, :, ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    y, x = np.nonzero(mask == OBJECT)
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)
    return Loaded(data.tobytes(), cv2.imencode(".png", mask)[1].tobytes(), (box, np.array([label])))

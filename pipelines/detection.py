"""Object detection: loaders over a store with boxes, for training and for testing.

from sdali.pipelines import detection

loader = detection.train_loader("voc.train.lmdb", batch_size=2, shorter_side=(480, 600, 720), seed=0)
for batch in loader:                    # one epoch; len(loader) batches
    batch["image"]                      # float32 [2, 3, H, W], padded to the larger of the two images
    batch["size"]                       # int64 [2, 2]: height and width of each image without the padding
    batch["boxes"], batch["labels"]     # lists of 2: float32 [K, 4] (xyxy, px) and int64 [K] of each image
state = loader.state_dict()             # plain JSON; loader.load_state_dict(state) goes on exactly there

for batch in detection.test_loader("voc.val.lmdb", statistics=loader.store.statistics):
    batch["size"], batch["original_size"]   # a box times original_size / size is a box of the original image
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from typing_extensions import Unpack

from .config import LARGEST_SIDE, DetectionAugmentation
from .errors import InputError
from .io.bounds import one_of, switch, whole_number
from .loader.batches import Batches
from .loader.loader import Loader
from .loader.options import Settings, TestLoaderOptions, TrainLoaderOptions, augmentation_of, settings_of
from .plan.detection import DetectionTrainPlanner
from .plan.order import ClassLists, Order, lists_of, order_named
from .plan.parsing import WholeImagePlanner
from .plan.planner import Planner
from .store.boxes import moved
from .store.reader import ImageStore

SidePer = Literal["step", "sample"]
"""What a shorter side is drawn for: a step, the same on all ranks, or each sample."""


def train_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int,
    shorter_side: int | Sequence[int] = 600,
    longer_side: int = 1000,
    side_per: SidePer = "step",
    size_divisor: int = 32,
    augmentation: DetectionAugmentation | None = None,
    **options: Unpack[TrainLoaderOptions],
) -> Loader:
    """Images scaled to a shorter side, flipped and jittered at random, padded to the batch's largest; boxes with them.

    A batch has `image` [B, 3, H, W], each image in the upper left corner, 0 (the mean colour) beside it; `size`
    int64 [B, 2], the height and width that it has there; `boxes`, a list of float32 [K, 4] (x_min, y_min, x_max, y_max
    in pixels there), `labels` of int64 [K], `difficult` of bool [K] and `areas` of float32 [K] (px² there: of the
    objects' outlines, where the store has them, else of the boxes), on the CPU; and `original_size` int64 [B, 2]. K may
    be 0. Within its `size` an image is a function of (seed, epoch, position), whatever the batch; H and W are the
    largest of this rank's batch, rounded up to multiples of size_divisor.

    Orders by class go by lists of the images that hold each class: an image may be in several lists, one without
    objects is in none, and difficult objects do not count.

    Args:
        store: a path, an ImageStore or a Subset of one, with boxes.
        batch_size: samples in a batch of each rank.
        shorter_side: the length of the shorter side, px, Faster R-CNN's by default; of several one is drawn.
        longer_side: no side gets longer than this, px.
        side_per: whether a shorter side is drawn for each "step", the same on all ranks, or for each "sample".
        size_divisor: see above.
        augmentation: everything random about a sample; by default colour and flip as in classification, and no crop.
        options: see TrainLoaderOptions.

    Raises InputError for anything that cannot be used, and TypeError for an option that does not exist.
    """
    settings = settings_of(train_loader, store, batch_size, options, training=True)
    store = settings.store
    _check_boxes(store)
    one_of("side_per", side_per, get_args(SidePer))
    sides = (shorter_side,) if not np.iterable(shorter_side) else tuple(shorter_side)
    _check_sides(sides, longer_side)
    planner = DetectionTrainPlanner(
        augmentation=augmentation_of(DetectionAugmentation, augmentation),
        shorter_sides=sides,
        longer_side=longer_side,
        per_sample=side_per == "sample",
        **settings.for_planner,
    )
    order = options.get("order", "shuffle")
    by_class = isinstance(order, str | Order) and order_named(order).name not in ("shuffle", "sequential")
    return _loader(settings, planner, size_divisor, labels=_class_lists(store) if by_class else None)


def test_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int = 1,
    shorter_side: int = 600,
    longer_side: int = 1000,
    flip: bool = False,
    size_divisor: int = 32,
    **options: Unpack[TestLoaderOptions],
) -> Loader:
    """Every whole image once, in the store's order, scaled; batches as in train_loader.

    A box there, times original_size / size in each direction, is a box of the original. Last batches may be short, on
    some ranks empty.

    Args:
        store: as in train_loader.
        batch_size: as in train_loader.
        longer_side: as in train_loader.
        size_divisor: as in train_loader.
        shorter_side: the length of the shorter side, px.
        flip: whether all images are mirrored.
        options: see TestLoaderOptions.

    Raises InputError for anything that cannot be used, and TypeError for an option that does not exist.
    """
    settings = settings_of(test_loader, store, batch_size, options, training=False)
    _check_sides((shorter_side,), longer_side)
    switch("flip", flip)
    _check_boxes(settings.store)
    planner = WholeImagePlanner(shorter_side=shorter_side, longer_side=longer_side, flip=flip, **settings.for_planner)
    return _loader(settings, planner, size_divisor)


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _loader(settings: Settings, planner: Planner, size_divisor: int, labels: ClassLists | None = None) -> Loader:
    from .graph.detection import DetectionGraph  # imports DALI, whose absence has been reported by now

    whole_number("size_divisor", size_divisor)
    shapes = {"image": (1, 3, size_divisor, size_divisor)}
    batches = Batches(settings=settings, shapes=shapes, annotations=partial(_annotations, settings.store))
    graph = DetectionGraph(**settings.for_graph, size_divisor=size_divisor)
    return Loader(batches, planner=planner, graph=graph, labels=labels)


def _annotations(store: ImageStore, rows: np.ndarray) -> dict[str, Any]:
    """What a batch of these rows has besides images."""
    objects = [moved(store.boxes(int(row["index"])), row) for row in rows]
    return {
        "size": torch.from_numpy(rows["size"].astype(np.int64)),
        "original_size": torch.from_numpy(store.sizes[rows["index"]].astype(np.int64)),
        "boxes": [torch.from_numpy(boxes.xyxy) for boxes in objects],
        "labels": [torch.from_numpy(boxes.labels) for boxes in objects],
        "difficult": [torch.from_numpy(boxes.difficult) for boxes in objects],
        "areas": [torch.from_numpy(boxes.object_areas().astype(np.float32)) for boxes in objects],
    }


def _check_boxes(store: ImageStore) -> None:
    if not store.has_boxes:
        raise InputError(
            f"{store.path} has no boxes; build it with sdali build --format voc, coco or ilsvrc-loc, or --annotations"
        )


def _class_lists(store: ImageStore) -> ClassLists:
    objects = store.objects()
    counted = ~objects.difficult
    if not counted.any():
        raise InputError(f"{store.path} has no objects that this order could count; use shuffle")
    return lists_of(objects.images[counted], objects.labels[counted], len(store))


def _check_sides(shorter: Sequence[object], longer: object) -> None:
    if not shorter:
        raise InputError("shorter_side must be one side or several, got none")
    for side in shorter:
        whole_number("shorter_side", side, LARGEST_SIDE)
    whole_number("longer_side", longer, LARGEST_SIDE)

"""Scene classification: loaders over an image store, for training (plain or heatmap-guided crops) and for testing.

from sdali.pipelines import classification

loader = classification.train_loader("pets.lmdb", heatmaps="pets.cams.lmdb", batch_size=64, seed=0)
for batch in loader:                    # one epoch; len(loader) batches
    batch["image"]                      # float32 [64, 3, 224, 224], normalised, on the loader's device
    batch["label"], batch["index"]      # int64 [64]: the class, and the index of the sample in the store
    batch["plan"]                       # NumPy rows: window, flip, interpolation, colour, ... of each image
state = loader.state_dict()             # plain JSON; loader.load_state_dict(state) goes on exactly there

for batch in classification.test_loader("val.lmdb", batch_size=64, statistics=loader.store.statistics):
    batch["image"]                      # every image once, in the store's order, without augmentation
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from typing_extensions import Unpack

from .config import LARGEST_OUTPUT, Augmentation, Crop, TestCrop
from .errors import InputError
from .io.bounds import is_whole, one_of, switch, whole_number
from .loader.batches import Batches
from .loader.loader import Loader
from .loader.options import Settings, TestLoaderOptions, TrainLoaderOptions, augmentation_of, settings_of
from .plan.classification import MOST_VIEWS, TEN, EvaluationPlanner, RandomViewsPlanner, TenCropPlanner, TrainPlanner
from .plan.planner import Planner
from .store.heatmaps import Heatmaps
from .store.reader import ImageStore

ColourOn = Literal["loader", "device"]
"""Where images are jittered in colour and normalised: by the loader, or by the trainer on its device."""

CROP_RATIO = 0.875  # 224 of 256


def train_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int,
    heatmaps: str | Path | Heatmaps | None = None,
    size: int = 224,
    sizes: Sequence[int] = (),
    augmentation: Augmentation | None = None,
    plain_from: int | None = None,
    plain_crop: TestCrop = "centre",
    targets: np.ndarray | None = None,
    colour_on: ColourOn = "loader",
    **options: Unpack[TrainLoaderOptions],
) -> Loader:
    """Random windows of every image, jittered and normalised: the recipe's training side.

    Args:
        store: a path, an ImageStore or a Subset of one.
        batch_size: samples in a batch of each rank.
        heatmaps: the path of a heatmap store, or any object with len and [index] -> uint8 or float [h, w], an array or
            a tensor, over the whole image; windows are then centred where the map says (SDA).
        size: the side of the output, px.
        sizes: one of these is drawn for each step in place of `size`, the same on all ranks (multi-scale training).
        augmentation: everything random about a sample; the recipe's by default.
        plain_from: from this epoch on there is no augmentation but the flip, and images are of `size`: what test_loader
            shows with crop=plain_crop.
        plain_crop: see plain_from.
        targets: float32 [K, K], a soft label for each class (SoftLabels.targets), handed out as batch["target"].
        colour_on: "loader" makes finished images; "device" makes uint8 ones, a quarter of the bytes to be copied, and
            adds batch["colour"] float32 [B, 3, 5], with which `apply_colour` finishes them on any device.
        options: see TrainLoaderOptions.

    Raises InputError for anything that cannot be used, and TypeError for an option that does not exist.
    """
    settings = settings_of(train_loader, store, batch_size, options, training=True)
    store = settings.store
    targets = _checked_targets(targets, store)
    if plain_from is not None and not (is_whole(plain_from) and plain_from >= 0):
        raise InputError(f"plain_from must be an epoch, 0 or later, got {plain_from!r}")
    if not np.iterable(sizes):
        raise InputError(f"sizes must be some sides, got {sizes!r}")
    for side in (size, *sizes):
        whole_number("size", side, LARGEST_OUTPUT)
    planner = TrainPlanner(
        heatmaps=settings.opened(heatmaps),
        augmentation=augmentation_of(Augmentation, augmentation),
        sizes=tuple(sizes) or (size,),
        plain=None if plain_from is None else _test_planner(settings, size, plain_crop),
        plain_from=plain_from or 0,
        **settings.for_planner,
    )
    return _loader(settings, planner, size, colour_on, targets=targets)


def test_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int,
    size: int = 224,
    crop: TestCrop = "centre",
    crop_ratio: float = CROP_RATIO,
    crops: int = 1,
    random_crop: Crop | None = None,
    random_flip: bool = True,
    colour_on: ColourOn = "loader",
    **options: Unpack[TestLoaderOptions],
) -> Loader:
    """Every image once, in the store's order, without augmentation; last batches may be short, on some ranks empty.

    Args:
        store: as in train_loader.
        batch_size: as in train_loader.
        size: as in train_loader.
        colour_on: as in train_loader.
        crop: "centre" resizes the shorter side to size / crop_ratio and crops the centre; "whole" squashes the whole
            image to size x size.
        crop_ratio: see crop, within (0, 1].
        crops: views of each image, cut from one decode; with several batch["image"] is [B, crops, 3, size, size]. Ten
            are the corners and the centre, then the same mirrored; any other number are random windows.
        random_crop: how random windows are drawn; as in training by default.
        random_flip: whether random windows are mirrored at random.
        options: see TestLoaderOptions.

    Raises what train_loader raises.
    """
    settings = settings_of(test_loader, store, batch_size, options, training=False)
    whole_number("size", size, LARGEST_OUTPUT)
    whole_number("crops", crops, MOST_VIEWS)
    switch("random_flip", random_flip)
    if settings.channels_last and crops > 1:
        raise InputError(f"channels_last is for one view of each image, not {crops}; leave it out")
    planner: Planner = _test_planner(settings, size, crop, crop_ratio)
    if crops == TEN:
        planner = TenCropPlanner(size=size, crop_ratio=crop_ratio, **settings.for_planner)
    elif crops > 1:
        drawn = augmentation_of(Crop, random_crop, "random_crop")
        planner = RandomViewsPlanner(size=size, crop=drawn, views=crops, flip=random_flip, **settings.for_planner)
    return _loader(settings, planner, size, colour_on, views=crops)


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _test_planner(settings: Settings, size: int, crop: str, crop_ratio: float = CROP_RATIO) -> EvaluationPlanner:
    one_of("crop", crop, get_args(TestCrop))
    if not (isinstance(crop_ratio, int | float | np.number) and 0 < crop_ratio <= 1):
        raise InputError(f"crop_ratio must be within (0, 1], got {crop_ratio!r}")
    return EvaluationPlanner(size=size, crop_ratio=crop_ratio if crop == "centre" else None, **settings.for_planner)


def _loader(
    settings: Settings,
    planner: Planner,
    size: int,
    colour_on: str,
    *,
    views: int = 1,
    targets: np.ndarray | None = None,
) -> Loader:
    from .graph.classification import ClassificationGraph  # imports DALI, whose absence has been reported by now

    one_of("colour_on", colour_on, get_args(ColourOn))
    if colour_on == "device":
        if settings.dtype not in ("float32", "uint8"):
            raise InputError(f"colour_on='device' makes uint8 images; give the dtype {settings.dtype} to apply_colour")
        settings = replace(settings, dtype="uint8")
    shapes = {"image": (views, 3, size, size)}
    batches = Batches(settings=settings, shapes=shapes, uncoloured=colour_on == "device", targets=targets)
    return Loader(batches, planner=planner, graph=ClassificationGraph(**settings.for_graph, views=views))


def _checked_targets(targets: np.ndarray | None, store: ImageStore) -> np.ndarray | None:
    """float32 [K, K], contiguous, or None.

    Raises InputError unless there is a row of probabilities for each class and a class for each image.
    """
    if targets is None:
        return None
    classes = len(store.classes)
    try:
        targets = np.ascontiguousarray(targets, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"targets are a float array [{classes}, {classes}], got {type(targets).__name__}") from None
    if targets.shape != (classes, classes):
        raise InputError(f"targets of {list(targets.shape)} do not fit the {classes} classes of {store.path}")
    if not ((targets >= 0).all() and np.allclose(targets.sum(1), 1, atol=1e-4)):
        raise InputError("targets are probabilities: each row at least 0 and summing to 1; these are not")
    if (store.labels < 0).any():
        raise InputError(
            f"{store.path} has samples without a label, for which there is no soft label; build it without"
        )
    return targets

"""Scene parsing: loaders over a store of images and masks of classes, for training (random windows) and for testing.

from sdali.pipelines import parsing

loader = parsing.train_loader("camvid.train.lmdb", batch_size=8, size=(360, 480), seed=0)
for batch in loader:                    # one epoch; len(loader) batches
    batch["image"]                      # float32 [8, 3, 360, 480], normalised, on the loader's device
    batch["mask"]                       # int64 [8, 360, 480]: the class of each pixel, or store.ignore_index
state = loader.state_dict()             # plain JSON; loader.load_state_dict(state) goes on exactly there

for batch in parsing.test_loader("camvid.val.lmdb", scale=1.25, statistics=loader.store.statistics):
    batch["image"], batch["mask"]       # the whole image, scaled, and its mask in the original size
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from typing_extensions import Unpack

from .config import LARGEST_OUTPUT, LARGEST_SIDE, ParsingAugmentation
from .errors import InputError
from .images.header import MAX_PIXELS
from .io.bounds import switch, whole_number
from .loader.batches import Batches
from .loader.loader import Loader
from .loader.options import Settings, TestLoaderOptions, TrainLoaderOptions, augmentation_of, settings_of
from .plan.crops import scaled as crop_scaled
from .plan.parsing import ParsingTrainPlanner, WholeImagePlanner
from .plan.planner import Planner
from .store.heatmaps import Heatmaps
from .store.reader import ImageStore, check_masks_of_classes


def train_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int,
    heatmaps: str | Path | Heatmaps | None = None,
    size: int | Sequence[int] = 473,
    augmentation: ParsingAugmentation | None = None,
    **options: Unpack[TrainLoaderOptions],
) -> Loader:
    """Each image scaled at random and cropped or padded to `size`, jittered and normalised, and its mask alike.

    A batch has `image` [B, 3, H, W] and `mask` int64 [B, H, W], 0 to K-1 or store.ignore_index; padding is 0, the mean
    colour, in the image and ignored in the mask. A window may hold nothing but ignored pixels: it is handed out as any
    other.

    Args:
        store: a path, an ImageStore or a Subset of one, built with --format masks.
        batch_size: samples in a batch of each rank.
        heatmaps: as in classification; windows are centred where these say, such as where rare classes are
            (`sdali cams --from rare-classes`).
        size: (height, width) of the output or the side of a square, px.
        augmentation: everything random about a sample; the recipe's by default.
        options: see TrainLoaderOptions.

    Raises InputError for anything that cannot be used, and TypeError for an option that does not exist.
    """
    settings = settings_of(train_loader, store, batch_size, options, training=True)
    check_masks_of_classes(settings.store)
    output = _height_width(size)
    planner = ParsingTrainPlanner(
        heatmaps=settings.opened(heatmaps),
        augmentation=augmentation_of(ParsingAugmentation, augmentation),
        size=output,
        **settings.for_planner,
    )
    return _loader(settings, planner, output, whole_masks=False)


def test_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int = 1,
    scale: float = 1.0,
    shorter_side: int | None = None,
    scale_masks: bool = False,
    **options: Unpack[TestLoaderOptions],
) -> Loader:
    """Every whole image once, in the store's order, scaled, and its mask as it is.

    `image` is [B, 3, h, w] with sides round(side * scale), at least 1; `mask` is int64 [B, H, W] of the original size
    at every scale, since that is where predictions are compared, or with scale_masks of the image's. Last batches may
    be short, on some ranks empty.

    Args:
        store: as in train_loader.
        batch_size: samples in a batch of each rank; 1, unless all images of the store have one size.
        scale: the factor by which images are scaled.
        shorter_side: the length of the shorter side at a scale of 1, px; None: the length that it has in the image.
        scale_masks: masks are scaled with their images, each pixel to the nearest.
        options: see TestLoaderOptions.

    Raises InputError for anything that cannot be used, and TypeError for an option that does not exist.
    """
    settings = settings_of(test_loader, store, batch_size, options, training=False)
    store = settings.store
    check_masks_of_classes(store)
    if not (isinstance(scale, int | float | np.number) and 0 < scale < float("inf")):
        raise InputError(f"scale must be above 0 and finite, got {scale!r}")
    if shorter_side is not None:
        whole_number("shorter_side", shorter_side, LARGEST_SIDE)
    smallest, largest = store.sizes.min(0).tolist(), store.sizes.max(0).tolist()
    if batch_size > 1 and smallest != largest:
        raise InputError(
            f"images of {store.path} have sides of {smallest} to {largest} px, which make no batch; use batch_size=1"
        )
    sides = store.sizes.astype(float) * crop_scaled.factors(store.sizes, shorter_side, scale)
    if sides.prod(1).max() > MAX_PIXELS:
        height, width = sides[sides.prod(1).argmax()]
        raise InputError(
            f"images would have up to {height:.0f} x {width:.0f} px, more than {MAX_PIXELS:,}; lower the scale"
        )
    planner = WholeImagePlanner(**settings.for_planner, scale=scale, shorter_side=shorter_side)
    return _loader(settings, planner, (smallest[0], smallest[1]), whole_masks=not switch("scale_masks", scale_masks))


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _loader(settings: Settings, planner: Planner, size: tuple[int, int], *, whole_masks: bool) -> Loader:
    from .graph.parsing import ParsingGraph  # imports DALI, whose absence has been reported by now

    assert settings.store.ignore_index is not None
    graph = ParsingGraph(**settings.for_graph, ignore_index=settings.store.ignore_index, whole_masks=whole_masks)
    batches = Batches(settings=settings, shapes={"image": (1, 3, *size), "mask": (1, *size)})
    return Loader(batches, planner=planner, graph=graph)


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int | np.integer) else tuple(size) if np.iterable(size) else ()
    if len(sides) != 2:
        raise InputError(f"size must be (height, width) or one side, got {size!r}")
    for side in sides:
        whole_number("size", side, LARGEST_OUTPUT)
    if sides[0] * sides[1] > MAX_PIXELS:
        raise InputError(f"size has {sides[0]} x {sides[1]} px, more than {MAX_PIXELS:,}; lower it")
    return int(sides[0]), int(sides[1])

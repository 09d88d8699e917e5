"""Scene parsing: loaders over a store of images and masks of classes, for training (random windows) and for testing.

loader = train_loader("camvid.train.lmdb", batch_size=8, size=(360, 480))
for batch in loader: ...        # batch["image"] float32 [8, 3, 360, 480], batch["mask"] int64 [8, 360, 480]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from .config import ParsingAugmentation
from .errors import InputError
from .images.header import MAX_PIXELS
from .io.bounds import checked_seed, whole_number
from .io.dali import require_dali
from .io.device import cuda_ordinal
from .loader.loader import Loader
from .loader.options import (
    Dtype,
    augmentation_of,
    check_dtype,
    graph_dtype,
    opened_heatmaps,
    opened_statistics,
    opened_store,
    thread_count,
)
from .loader.rank_share import Planner
from .plan.crops import scaled as crop_scaled
from .plan.crops.guided import Heatmaps
from .plan.order import Order, in_epochs_of, order_named
from .plan.parsing import ParsingTestPlanner, ParsingTrainPlanner
from .sources.mask_classes import check_masks_of_classes
from .store.reader import ImageStore
from .store.statistics import Statistics


def train_loader(
    store: str | Path | ImageStore,
    *,
    heatmaps: str | Path | Heatmaps | None = None,
    batch_size: int,
    size: int | Sequence[int] = 473,
    seed: int = 0,
    augmentation: ParsingAugmentation | None = None,
    statistics: Statistics | None = None,
    order: str | Order = "shuffle",
    epoch_length: int | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    on_error: Literal["raise", "skip"] = "raise",
    max_bad_share: float = 0.01,
    pin_memory: bool = False,
) -> Loader:
    """Each image scaled at random and cropped or padded to `size`, jittered and normalised, and its mask alike.

    A batch has `image` [B, 3, H, W] of `dtype` and `mask` int64 [B, H, W], 0 to K-1 or store.ignore_index; padding is
    0, the mean colour, in the image and ignored in the mask. A window may hold nothing but ignored pixels: it is handed
    out as any other. store: built with --format masks. heatmaps: windows are centred where these say, such as where
    rare classes are (`sdali cams --from rare-classes`). size: (height, width) or the side of a square, px.
    augmentation: the recipe's by default. order: "shuffle", "sequential" or an Order; images have no class to be
    ordered by. dtype "uint8": neither jittered in colour nor normalised, padding black. The rest is as in
    classification.train_loader. Raises InputError for anything that cannot be used.
    """
    opened = _parsing_store(store)
    seed = checked_seed(seed)
    height, width = _height_width(size)
    planner = ParsingTrainPlanner(
        store=opened,
        heatmaps=opened_heatmaps(heatmaps, opened),
        augmentation=augmentation_of(ParsingAugmentation, augmentation),
        statistics=opened_statistics(statistics, opened),
        size=(height, width),
        seed=seed,
    )
    return _loader(
        opened, planner, False, (height, width), device, threads, dtype,
        order=order_named(order) if epoch_length is None else in_epochs_of(order_named(order), epoch_length),
        seed=seed, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=True, on_error=on_error, max_bad_share=max_bad_share, pin_memory=pin_memory,
        channels_last=channels_last,
    )  # fmt: skip


def test_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int = 1,
    scale: float = 1.0,
    shorter_side: int | None = None,
    statistics: Statistics | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    pin_memory: bool = False,
) -> Loader:
    """Every whole image once, in store order, scaled, and its mask as it is.

    `image` is [B, 3, h, w] with sides round(side * scale), at least 1; `mask` stays int64 [B, H, W] of the original
    size at every scale, since that is where predictions are compared. shorter_side: its length at a scale of 1, px;
    None: the image's own. batch_size: 1, unless all images of the store have one size. statistics: pass the training
    store's; by default the store's own, else ImageNet's. Last batches may be short, on some ranks empty.
    """
    opened = _parsing_store(store)
    if not (isinstance(scale, int | float | np.number) and 0 < scale < float("inf")):
        raise InputError(f"scale must be above 0 and finite, got {scale!r}")
    if shorter_side is not None:
        whole_number("shorter_side", shorter_side)
    whole_number("batch_size", batch_size)
    smallest, largest = opened.sizes.min(0).tolist(), opened.sizes.max(0).tolist()
    if batch_size > 1 and smallest != largest:
        raise InputError(
            f"images of {opened.path} have sides of {smallest} to {largest} px, which make no batch; use batch_size=1"
        )
    sides = opened.sizes.astype(float) * crop_scaled.factors(opened.sizes, shorter_side, scale)
    if sides.prod(1).max() > MAX_PIXELS:
        height, width = sides[sides.prod(1).argmax()]
        raise InputError(
            f"images would have up to {height:.0f} x {width:.0f} px, more than {MAX_PIXELS:,}; lower the scale"
        )
    statistics = opened_statistics(statistics, opened)
    planner = ParsingTestPlanner(store=opened, statistics=statistics, scale=scale, shorter_side=shorter_side)
    return _loader(
        opened, planner, True, (smallest[0], smallest[1]), device, threads, dtype,
        order=order_named("sequential"), seed=0, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=False, on_error="raise", max_bad_share=0, pin_memory=pin_memory, channels_last=channels_last,
    )  # fmt: skip


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _loader(
    store: ImageStore,
    planner: Planner,
    whole_masks: bool,
    size: tuple[int, int],
    device: str | torch.device,
    threads: int | None,
    dtype: str,
    **rest: object,
) -> Loader:
    require_dali()
    from .graph.parsing import ParsingGraph

    check_dtype(dtype)
    cuda = cuda_ordinal(device)
    assert store.ignore_index is not None
    graph = ParsingGraph(
        dtype=graph_dtype(dtype),
        cuda=cuda,
        threads=thread_count(threads),
        ignore_index=store.ignore_index,
        whole_masks=whole_masks,
    )
    where = torch.device("cpu" if cuda is None else f"cuda:{cuda}")

    def empty() -> dict[str, torch.Tensor]:
        image = torch.empty((0, 1, 3, *size), dtype=getattr(torch, dtype), device=where)
        return {"image": image, "mask": torch.empty((0, 1, *size), dtype=torch.uint8, device=where)}

    return Loader(
        store=store,
        planner=planner,
        graph=graph,
        empty=empty,
        dtype=getattr(torch, dtype),
        uncoloured=False,
        **rest,  # type: ignore[arg-type]
    )


def _parsing_store(store: str | Path | ImageStore) -> ImageStore:
    opened = opened_store(store)
    check_masks_of_classes(opened)
    return opened


def _height_width(size: int | Sequence[int]) -> tuple[int, int]:
    sides = (size, size) if isinstance(size, int | np.integer) else tuple(size) if np.iterable(size) else ()
    if len(sides) != 2:
        raise InputError(f"size must be (height, width) or one side, got {size!r}")
    for side in sides:
        whole_number("size", side)
    if sides[0] * sides[1] > MAX_PIXELS:
        raise InputError(f"size has {sides[0]} x {sides[1]} px, more than {MAX_PIXELS:,}; lower it")
    return int(sides[0]), int(sides[1])

"""Scene classification: loaders over an image store, for training (plain or heatmap-guided crops) and for testing.

loader = train_loader("pets.lmdb", heatmaps="pets.cams.lmdb", batch_size=64)
for batch in loader: ...        # batch["image"] float32 [64, 3, 224, 224], batch["label"] int64 [64]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from .config import Augmentation, Crop, TestCrop
from .errors import InputError
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
from .plan.classification import EvaluationPlanner, HarmonyPlanner, TrainPlanner
from .plan.crops.guided import Heatmaps
from .plan.order import Order, in_epochs_of, order_named
from .plan.views import TEN, RandomViewsPlanner, TenCropPlanner
from .store.reader import ImageStore
from .store.statistics import Statistics

ColourOn = Literal["loader", "device"]
CROP_RATIO = 0.875  # 224 of 256


def train_loader(
    store: str | Path | ImageStore,
    *,
    heatmaps: str | Path | Heatmaps | None = None,
    batch_size: int,
    size: int = 224,
    sizes: Sequence[int] = (),
    seed: int = 0,
    augmentation: Augmentation | None = None,
    statistics: Statistics | None = None,
    order: str | Order = "shuffle",
    epoch_length: int | None = None,
    plain_from: int | None = None,
    plain_crop: TestCrop = "centre",
    targets: np.ndarray | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    colour_on: ColourOn = "loader",
    on_error: Literal["raise", "skip"] = "raise",
    max_bad_share: float = 0.01,
    pin_memory: bool = False,
) -> Loader:
    """Random windows of every image, jittered and normalised: the recipe's training side.

    store: path or ImageStore. heatmaps: path of a heatmap store, or any object with len and [index] -> uint8 [h, w]
    over the whole image; windows are then centred where the map says (SDA). size: side of the output, px. sizes: one of
    these is drawn for each step instead (multi-scale training), but in plain epochs. augmentation: defaults to the
    recipe's. statistics: normalisation and lighting; the store's own (`sdali stats`) by default, else ImageNet's.
    order: a name of order.ORDERS ("shuffle", "label_shuffle", "class_aware", "repeat_factor", "sequential") or an
    Order. epoch_length: positions an epoch, if not a whole pass over that order; the next epoch goes on where it ended.
    plain_from: from this epoch on, no augmentation but the flip: what test_loader sees with crop=plain_crop. targets:
    float32 [K, K], a soft label for each class (SoftLabels.targets), to be handed out as `target`. device: "auto" (the
    GPU where there is one), "cpu" or "cuda:0". threads: DALI's CPU threads. colour_on: "loader" makes images of
    `dtype`, finished; "device" makes uint8 ones and adds `colour` float32 [B, 3, 5], with which colour_torch.apply
    finishes them on any device: a quarter of the bytes to bring there. dtype "uint8": neither jittered in colour nor
    normalised. channels_last: images in torch's memory format of that name, for a copy. on_error: a sample that cannot
    be read or decoded raises BadSampleError when its batch is due, or with "skip" is replaced (see replacement) and
    listed in loader.skipped, until more than one and more than max_bad_share of the store's samples are bad. Raises
    InputError for anything that cannot be used.
    """
    opened = opened_store(store)
    targets = _checked_targets(targets, opened)
    statistics = opened_statistics(statistics, opened)
    if plain_from is not None and (not isinstance(plain_from, int) or plain_from < 0):
        raise InputError(f"plain_from must be an epoch, 0 or later, got {plain_from!r}")
    seed = checked_seed(seed)
    for side in (size, *sizes):
        whole_number("size", side)
    planner: Planner = TrainPlanner(
        store=opened,
        heatmaps=opened_heatmaps(heatmaps, opened),
        augmentation=augmentation_of(Augmentation, augmentation),
        statistics=statistics,
        sizes=tuple(sizes) or (size,),
        seed=seed,
    )
    if plain_from is not None:
        test = _test_planner(opened, statistics, size, plain_crop)
        planner = HarmonyPlanner(train=planner, test=test, test_from=plain_from)
    return _loader(
        opened, planner, 1, size, device, threads, dtype, colour_on,
        order=order_named(order) if epoch_length is None else in_epochs_of(order_named(order), epoch_length),
        seed=seed, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=True, on_error=on_error, max_bad_share=max_bad_share, pin_memory=pin_memory,
        channels_last=channels_last, targets=targets,
    )  # fmt: skip


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
    statistics: Statistics | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    colour_on: ColourOn = "loader",
    pin_memory: bool = False,
) -> Loader:
    """Every image once, in store order, without augmentation.

    crop: "centre" is a shorter-side resize to size / crop_ratio and a centre crop; "whole" squashes the whole image to
    size x size. crops: views of each image, cut from one decode, so that batch["image"] is [B, crops, 3, size, size]:
    10 are the corners and the centre, then the same mirrored; any other number above 1 are random windows, drawn as
    `random_crop` says (the recipe's training windows by default), mirrored at random unless random_flip is False.
    statistics: pass the training store's; by default the store's own, else ImageNet's. The rest is as in
    train_loader. Last batches may be short, on some ranks empty.
    """
    opened = opened_store(store)
    statistics = opened_statistics(statistics, opened)
    whole_number("size", size)
    whole_number("crops", crops)
    if channels_last and crops > 1:
        raise InputError(f"channels_last is for one view of each image, not {crops}; leave it out")
    planner: Planner = _test_planner(opened, statistics, size, crop, crop_ratio)
    common = {"store": opened, "statistics": statistics, "size": size}
    if crops == TEN:
        planner = TenCropPlanner(crop_ratio=crop_ratio, **common)
    elif crops > 1:
        planner = RandomViewsPlanner(crop=random_crop or Crop(), views=crops, flip=random_flip, **common)
    return _loader(
        opened, planner, crops, size, device, threads, dtype, colour_on,
        order=order_named("sequential"), seed=0, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=False, on_error="raise", max_bad_share=0, pin_memory=pin_memory, channels_last=channels_last,
    )  # fmt: skip


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _test_planner(
    store: ImageStore, statistics: Statistics, size: int, crop: str, crop_ratio: float = CROP_RATIO
) -> EvaluationPlanner:
    if crop not in get_args(TestCrop):
        raise InputError(f"crop must be centre or whole, got {crop!r}")
    if not 0 < crop_ratio <= 1:
        raise InputError(f"crop_ratio must be within (0, 1], got {crop_ratio}")
    ratio = crop_ratio if crop == "centre" else None
    return EvaluationPlanner(store=store, statistics=statistics, size=size, crop_ratio=ratio)


def _loader(
    store: ImageStore,
    planner: Planner,
    views: int,
    size: int,
    device: str | torch.device,
    threads: int | None,
    dtype: str,
    colour_on: str,
    **rest: object,
) -> Loader:
    require_dali()
    from .graph.classification import Graph

    check_dtype(dtype)
    if colour_on not in get_args(ColourOn):
        raise InputError(f"colour_on must be loader or device, got {colour_on!r}")
    if colour_on == "device":
        if dtype not in ("float32", "uint8"):
            raise InputError(f"colour_on='device' makes uint8 images; give the dtype {dtype} to colour_torch.apply")
        dtype = "uint8"
    cuda = cuda_ordinal(device)
    graph = Graph(dtype=graph_dtype(dtype), cuda=cuda, threads=thread_count(threads), views=views)
    where = torch.device("cpu" if cuda is None else f"cuda:{cuda}")

    def empty() -> dict[str, torch.Tensor]:
        return {"image": torch.empty((0, views, 3, size, size), dtype=getattr(torch, dtype), device=where)}

    return Loader(
        store=store,
        planner=planner,
        graph=graph,
        empty=empty,
        dtype=getattr(torch, dtype),
        uncoloured=colour_on == "device",
        **rest,  # type: ignore[arg-type]
    )


def _checked_targets(targets: np.ndarray | None, store: ImageStore) -> np.ndarray | None:
    """float32 [K, K], contiguous, or None; raises InputError unless there is a row of probabilities for each class and
    image.
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

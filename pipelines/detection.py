"""Object detection: loaders over a store with boxes, for training and for testing.

loader = train_loader("voc.train.lmdb", batch_size=2, shorter_side=(480, 600, 720))
for batch in loader: ...        # batch["image"] float32 [2, 3, H, W], batch["boxes"] list of 2 float32 [K, 4]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch

from .config import DetectionAugmentation
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
    opened_statistics,
    opened_store,
    thread_count,
)
from .loader.rank_share import Planner
from .plan.class_lists import lists_of
from .plan.detection import DetectionTestPlanner, DetectionTrainPlanner
from .plan.order import Order, in_epochs_of, order_named
from .store.boxes import moved
from .store.reader import ImageStore
from .store.statistics import Statistics

SidePer = Literal["step", "sample"]


def train_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int,
    shorter_side: int | Sequence[int] = 600,
    longer_side: int = 1000,
    side_per: SidePer = "step",
    size_divisor: int = 32,
    seed: int = 0,
    augmentation: DetectionAugmentation | None = None,
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
    """Images scaled to a shorter side, flipped and jittered at random, padded to the batch's largest; boxes with them.

    A batch has `image` [B, 3, H, W] of `dtype`, each in its upper left corner, 0 (the mean colour) beside it; `size`
    int64 [B, 2], the height and width it has there; `boxes`, a list of float32 [K, 4] (x_min, y_min, x_max, y_max in
    pixels there), `labels` of int64 [K] and `difficult` of bool [K], on the CPU; and `original_size` int64 [B, 2]. K
    may be 0. Within its `size` an image is a function of (seed, epoch, position), whatever the batch; H and W are the
    largest of this rank's batch, rounded up to multiples of size_divisor.

    shorter_side: px; of several one is drawn for each step, the same on all ranks, or for each sample (side_per).
    longer_side: no side gets longer than this. augmentation: colour and flip as in classification by default, no crop.
    order: as in classification, of lists of the images that hold each class ("class_balanced", "label_shuffle",
    "class_aware", "repeat_factor"), where images may stand in several and those without objects stand in none;
    difficult objects count for nothing. dtype "uint8": neither jittered in colour nor normalised, padding black. The
    rest is as in classification.train_loader. The default sides are Faster
    R-CNN's. Raises InputError for anything that cannot be used.
    """
    opened = _store_with_boxes(store)
    seed = checked_seed(seed)
    if side_per not in get_args(SidePer):
        raise InputError(f"side_per must be step or sample, got {side_per!r}")
    sides = (shorter_side,) if not np.iterable(shorter_side) else tuple(shorter_side)
    _check_sides(sides, longer_side)
    order = order_named(order)
    planner = DetectionTrainPlanner(
        store=opened,
        augmentation=augmentation_of(DetectionAugmentation, augmentation),
        statistics=opened_statistics(statistics, opened),
        shorter_sides=sides,
        longer_side=longer_side,
        per_sample=side_per == "sample",
        seed=seed,
    )
    return _loader(
        opened, planner, size_divisor, device, threads, dtype,
        order=order if epoch_length is None else in_epochs_of(order, epoch_length),
        labels=opened.labels if order.name in ("shuffle", "sequential") else _lists(opened),
        seed=seed, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=True, on_error=on_error, max_bad_share=max_bad_share, pin_memory=pin_memory,
        channels_last=channels_last,
    )  # fmt: skip


def test_loader(
    store: str | Path | ImageStore,
    *,
    batch_size: int = 1,
    shorter_side: int = 600,
    longer_side: int = 1000,
    flip: bool = False,
    size_divisor: int = 32,
    statistics: Statistics | None = None,
    device: str | torch.device = "auto",
    threads: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    dtype: Dtype = "float32",
    channels_last: bool = False,
    pin_memory: bool = False,
) -> Loader:
    """Every whole image once, in store order, scaled; batches as in train_loader.

    A box there, times original_size / size in each direction, is one of the original. flip: all images mirrored.
    statistics: pass the training store's; by default the store's own, else ImageNet's. Last batches may be short, on
    some ranks empty.
    """
    opened = _store_with_boxes(store)
    _check_sides((shorter_side,), longer_side)
    planner = DetectionTestPlanner(
        store=opened,
        statistics=opened_statistics(statistics, opened),
        shorter_side=shorter_side,
        longer_side=longer_side,
        flip=flip,
    )
    return _loader(
        opened, planner, size_divisor, device, threads, dtype,
        order=order_named("sequential"), seed=0, batch_size=batch_size, rank=rank, world_size=world_size,
        drop_last=False, on_error="raise", max_bad_share=0, pin_memory=pin_memory, channels_last=channels_last,
    )  # fmt: skip


test_loader.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _loader(
    store: ImageStore,
    planner: Planner,
    size_divisor: int,
    device: str | torch.device,
    threads: int | None,
    dtype: str,
    **rest: object,
) -> Loader:
    require_dali()
    from .graph.detection import DetectionGraph

    check_dtype(dtype)
    whole_number("size_divisor", size_divisor)
    cuda = cuda_ordinal(device)
    graph = DetectionGraph(
        dtype=graph_dtype(dtype), cuda=cuda, threads=thread_count(threads), size_divisor=size_divisor
    )
    where = torch.device("cpu" if cuda is None else f"cuda:{cuda}")

    def empty() -> dict[str, torch.Tensor]:
        shape = 0, 1, 3, size_divisor, size_divisor
        return {"image": torch.empty(shape, dtype=getattr(torch, dtype), device=where)}

    return Loader(
        store=store,
        planner=planner,
        graph=graph,
        empty=empty,
        dtype=getattr(torch, dtype),
        uncoloured=False,
        annotations=partial(_annotations, store),
        **rest,  # type: ignore[arg-type]
    )


def _annotations(store: ImageStore, rows: np.ndarray) -> dict[str, Any]:
    """What a batch of these rows has besides images."""
    found = [moved(store.boxes(int(row["index"])), row) for row in rows]
    return {
        "size": torch.from_numpy(rows["size"].astype(np.int64)),
        "original_size": torch.from_numpy(store.sizes[rows["index"]].astype(np.int64)),
        "boxes": [torch.from_numpy(boxes.xyxy) for boxes in found],
        "labels": [torch.from_numpy(boxes.labels) for boxes in found],
        "difficult": [torch.from_numpy(boxes.difficult) for boxes in found],
    }


def _store_with_boxes(store: str | Path | ImageStore) -> ImageStore:
    opened = opened_store(store)
    if not opened.has_boxes:
        raise InputError(
            f"{opened.path} has no boxes; build it with sdali build --format voc, coco or ilsvrc-loc, or --annotations"
        )
    return opened


def _lists(store: ImageStore) -> Any:
    objects = store.objects()
    wanted = ~objects.difficult
    if not wanted.any():
        raise InputError(f"{store.path} has no objects that this order could count; use shuffle")
    return lists_of(objects.images[wanted], objects.labels[wanted], len(store))


def _check_sides(shorter: Sequence[object], longer: object) -> None:
    if not shorter:
        raise InputError("shorter_side must be one side or several, got none")
    for side in shorter:
        whole_number("shorter_side", side)
    whole_number("longer_side", longer)

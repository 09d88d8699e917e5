"""What the loaders of all tasks take from a user, opened and checked: store, heatmaps, number type, threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeVar, get_args

from ..errors import InputError
from ..io.bounds import whole_number
from ..plan.crops.guided import Heatmaps
from ..store.reader import ImageStore
from ..store.statistics import IMAGENET, Statistics
from ..store.subset import Subset, SubsetMaps

T = TypeVar("T")

Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
"""Of images; uint8: neither jittered in colour nor normalised."""


def opened_store(store: str | Path | ImageStore) -> ImageStore:
    """The store itself, or the one at that path; InputError for anything else."""
    if isinstance(store, ImageStore):
        return store
    if not isinstance(store, str | os.PathLike):
        kind = type(store).__name__
        raise InputError(f"a store is a path, an ImageStore or, of a part, a Subset of sdali.pipelines; got {kind}")
    return ImageStore(store)


def opened_statistics(statistics: Statistics | None, store: ImageStore) -> Statistics:
    """Those given, else the store's own, else ImageNet's; InputError for anything else, such as a pair (mean, std)."""
    if statistics is None:
        return store.statistics or IMAGENET
    if not isinstance(statistics, Statistics):
        kind = type(statistics).__name__
        raise InputError(f"statistics are a Statistics, dataclasses.replace(IMAGENET, mean=..., std=...), got {kind}")
    return statistics


def augmentation_of(kind: type[T], augmentation: T | None) -> T:
    """The one given, else that kind's default; InputError for another kind, such as transforms of torchvision."""
    if augmentation is not None and not isinstance(augmentation, kind):
        got = type(augmentation).__name__
        raise InputError(
            f"augmentation must be {kind.__name__} of sdali.pipelines, got {got}; others come after the loader"
        )
    return augmentation or kind()


def opened_heatmaps(heatmaps: str | Path | Heatmaps | None, store: ImageStore) -> Heatmaps | None:
    """The heatmaps, opened where they are a path; InputError unless they are as many as the images, and theirs.

    A path may also be that of the whole store's, where the store is a subset.
    """
    if isinstance(heatmaps, str | Path):
        from ..store.heatmaps import HeatmapStore

        maps = HeatmapStore(heatmaps)
        maps.check(store.whole if isinstance(store, Subset) else store)
        return SubsetMaps(maps, store.indices) if isinstance(store, Subset) else maps
    if heatmaps is not None and not (hasattr(heatmaps, "__len__") and hasattr(heatmaps, "__getitem__")):
        kind = type(heatmaps).__name__
        raise InputError(f"heatmaps are a path, or an object with len and [index] -> uint8 [h, w]; got {kind}")
    if heatmaps is not None and len(heatmaps) != len(store):
        raise InputError(f"there are {len(heatmaps)} heatmaps for the {len(store)} images of {store.path}")
    return heatmaps


def check_dtype(dtype: str) -> None:
    """Raise InputError for a type that images cannot have."""
    if dtype not in get_args(Dtype):
        raise InputError(f"dtype must be one of {', '.join(get_args(Dtype))}, got {dtype!r}")


def graph_dtype(dtype: str) -> str:
    """What DALI makes for it: it has no bfloat16."""
    return "float32" if dtype == "bfloat16" else dtype


def thread_count(threads: int | None) -> int:
    """As asked, or one a core."""
    if threads is not None:
        whole_number("threads", threads)
    return threads or len(os.sched_getaffinity(0))

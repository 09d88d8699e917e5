"""What the loaders of all tasks take from a user, opened and checked: store, heatmaps, number type, threads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, get_args

from .bounds import whole_number
from .crop_guided import Heatmaps
from .errors import InputError
from .store_read import ImageStore
from .store_subset import Subset, SubsetMaps

Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
"""Of images; uint8: neither jittered in colour nor normalised."""


def opened_store(store: str | Path | ImageStore) -> ImageStore:
    """The store itself, or the one at that path."""
    return store if isinstance(store, ImageStore) else ImageStore(store)


def opened_heatmaps(heatmaps: str | Path | Heatmaps | None, store: ImageStore) -> Heatmaps | None:
    """The heatmaps, opened where they are a path; InputError unless they are as many as the images, and theirs.

    A path may also be that of the whole store's, where the store is a subset.
    """
    if isinstance(heatmaps, str | Path):
        from .heatmap_read import HeatmapStore

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

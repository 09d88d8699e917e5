"""The options that the loaders of all tasks share: declared and explained here once, and checked in one place.

A `train_loader` or `test_loader` takes its own arguments by name and these as `**options`. `settings_of` opens and
checks them and fills in the defaults; `Settings`, the result, is what a Loader is made from.
"""

from __future__ import annotations

import difflib
import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, get_args

import numpy as np
import torch

from ..config import MOST_IN_A_BATCH, MOST_THREADS
from ..errors import InputError
from ..io.bounds import checked_seed, is_whole, one_of, switch, whole_number
from ..io.dali import require_dali
from ..io.device import cuda_ordinal
from ..plan.order import Order, in_epochs_of, listed, order_named, weighted
from ..store.heatmaps import Heatmaps, HeatmapStore
from ..store.measure import opened_statistics
from ..store.reader import ImageStore
from ..store.statistics import Statistics
from ..store.subset import Subset, SubsetMaps

T = TypeVar("T")
logger = logging.getLogger("sdali")

Dtype = Literal["float32", "float16", "bfloat16", "uint8"]
"""The number type of images; uint8 images are neither jittered in colour nor normalised."""


class TestLoaderOptions(TypedDict, total=False):
    """The options of every loader, for training and for testing."""

    statistics: Statistics | str | Path | None
    """The mean and deviation that images are normalised by, and the eigenvectors of PCA lighting; also a file that
    `sdali stats --out` wrote. None (the default): what `sdali stats` has measured on the store, else ImageNet's. A test
    takes those of the training store."""

    device: str | torch.device
    """Where images are made: "auto" (the default: a GPU where there is one), "cpu", "cuda" or "cuda:0"."""

    threads: int | None
    """DALI's CPU threads. None (the default): one for each core that this process may use."""

    rank: int
    """The number of this process among `world_size` processes that share out every epoch, from 0 (the default)."""

    world_size: int
    """The number of processes that share out every epoch, 1 by default."""

    dtype: Dtype
    """The number type of images, "float32" by default. With "uint8" they are neither jittered in colour nor normalised,
    and padding is black."""

    channels_last: bool
    """Whether images have torch's memory format of that name, which costs a copy; False by default."""

    pin_memory: bool
    """Whether tensors on the CPU lie in pinned memory, from which copies to a GPU are fast; False by default."""

    pad: bool
    """Whether all ranks have equally many samples in a short last step, for metrics that gather batches; False by
    default, and in training only with drop_last=False. Ranks with fewer repeat the last sample of the epoch, and
    batches have `padding`, bool [B], True for a repeat. Of all ranks' batches in turn, the repeats are the end."""


class TrainLoaderOptions(TestLoaderOptions, total=False):
    """The options of a loader for training: those of every loader, and these."""

    drop_last: bool
    """Whether an epoch leaves out its last samples where they fill no whole step of all ranks; True by default. With
    False they make a short step, shared out evenly, unless they are fewer than the ranks and there is no padding."""

    seed: int
    """Everything random is a function of this, the epoch and the position; 0 by default, below 2^64."""

    order: str | Order | Sequence[int] | np.ndarray
    """Which sample is at each position of an epoch: "shuffle" (the default), "sequential", "label_shuffle",
    "class_aware", "class_balanced" or "repeat_factor", see plan.order, an Order, or indices of the store in the
    order in which they come, the same in every epoch. Scene parsing has no order by class, as its images have none."""

    weights: Sequence[float] | np.ndarray | None
    """In place of `order`: at each position a random sample, in proportion to these, float [N], at least 0; N positions
    an epoch."""

    epoch_length: int | None
    """The number of positions in an epoch; the next epoch goes on in the order where this one ended. None (the
    default): a whole pass over the order."""

    on_error: Literal["raise", "skip"]
    """What happens to a sample that cannot be read or decoded. "raise" (the default): BadSampleError, when its batch is
    due. "skip": another one takes its position (see bad_samples), and it is listed in `loader.skipped`."""

    max_bad_share: float
    """With on_error="skip", InputError is raised when more than one sample and more than this share of the store's are
    bad; 0.01 by default."""


TestLoaderOptions.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The shared options of one loader, opened and checked; the fields are as in TrainLoaderOptions."""

    store: ImageStore
    statistics: Statistics
    batch_size: int
    """Samples in a batch of one rank."""
    seed: int
    order: Order
    least: int
    """The fewest samples of a step of all ranks; an epoch leaves out a last step that would have fewer."""
    pad: bool
    cuda: int | None
    """The number of the GPU; None is the CPU."""
    threads: int
    rank: int
    world_size: int
    dtype: Dtype
    channels_last: bool
    pin_memory: bool
    on_error: Literal["raise", "skip"]
    max_bad_share: float

    @property
    def for_graph(self) -> dict[str, Any]:
        """What every DALI graph takes; DALI has no bfloat16."""
        dtype = "float32" if self.dtype == "bfloat16" else self.dtype
        return {"dtype": dtype, "cuda": self.cuda, "threads": self.threads}

    @property
    def for_planner(self) -> dict[str, Any]:
        """What every planner takes."""
        return {"store": self.store, "statistics": self.statistics, "seed": self.seed}

    def opened(self, heatmaps: str | Path | Heatmaps | None) -> Heatmaps | None:
        """The heatmaps, one for each image; a path may be that of the whole store's where the store is a subset."""
        store = self.store
        if isinstance(heatmaps, str | Path):
            maps = HeatmapStore(heatmaps)
            maps.check(store.whole if isinstance(store, Subset) else store)
            return SubsetMaps(maps, store.indices) if isinstance(store, Subset) else maps
        if heatmaps is not None and not (hasattr(heatmaps, "__len__") and np.iterable(heatmaps)):
            kind = type(heatmaps).__name__
            raise InputError(f"heatmaps are a path, or an object with len and [index] -> uint8 [h, w]; got {kind}")
        if heatmaps is not None and len(heatmaps) != len(store):
            raise InputError(f"there are {len(heatmaps)} heatmaps for the {len(store)} images of {store.path}")
        return heatmaps


def settings_of(
    function: Callable[..., Any],
    store: str | Path | ImageStore,
    batch_size: int,
    options: Mapping[str, Any],
    *,
    training: bool,
) -> Settings:
    """The settings of a loader that `function`, a train_loader or test_loader, was asked for.

    A test shows every image once, in order. Raises InputError for an option that cannot be used, and TypeError for one
    that does not exist.
    """
    _check_names(function, options, TrainLoaderOptions if training else TestLoaderOptions)
    require_dali()
    opened = opened_store(store)
    epoch_length = options.get("epoch_length")
    on_error, max_bad_share = options.get("on_error", "raise"), options.get("max_bad_share", 0.01)
    dtype, threads = options.get("dtype", "float32"), options.get("threads")
    rank, world_size = options.get("rank", 0), options.get("world_size", 1)
    drop_last = switch("drop_last", options.get("drop_last", training))
    pad, channels_last, pin_memory = (
        switch(name, options.get(name, False)) for name in ("pad", "channels_last", "pin_memory")
    )
    one_of("on_error", on_error, ("raise", "skip"))
    if not (isinstance(max_bad_share, int | float) and 0 <= max_bad_share <= 1):
        raise InputError(f"max_bad_share must be within [0, 1], got {max_bad_share!r}")
    one_of("dtype", dtype, get_args(Dtype))
    if threads is not None:
        whole_number("threads", threads, MOST_THREADS)
    whole_number("batch_size", batch_size, MOST_IN_A_BATCH)
    if not (is_whole(rank) and is_whole(world_size) and 0 <= rank < world_size):
        raise InputError(f"rank must be within [0, world_size), got rank {rank!r} of {world_size!r}")
    if pad and drop_last:
        raise InputError("pad=True fills a short last step, which drop_last=True leaves out; pass drop_last=False, too")
    if pin_memory and not torch.cuda.is_available():
        logger.warning("pin_memory=True has no effect: there is no CUDA device to copy to")
        pin_memory = False
    order = _chosen_order(options, opened, "shuffle" if training else "sequential")
    # In training a rank without a sample would have no loss; a test must leave nothing out.
    least = batch_size * world_size if drop_last else world_size if training and not pad else 1
    return Settings(
        store=opened,
        statistics=opened_statistics(options.get("statistics"), opened),
        batch_size=batch_size,
        seed=checked_seed(options.get("seed", 0)),
        order=order if epoch_length is None else in_epochs_of(order, epoch_length),
        least=least,
        pad=pad,
        cuda=cuda_ordinal(options.get("device", "auto")),
        threads=threads or len(os.sched_getaffinity(0)),
        rank=rank,
        world_size=world_size,
        dtype=dtype,
        channels_last=channels_last,
        pin_memory=pin_memory,
        on_error=on_error,
        max_bad_share=max_bad_share,
    )


def _chosen_order(options: Mapping[str, Any], store: ImageStore, default: str) -> Order:
    order, weights = options.get("order", default), options.get("weights")
    if weights is None:
        return order_named(order) if isinstance(order, str | Order) else listed(store.checked(order))
    if "order" in options:
        raise InputError("weights are an order by themselves; leave out order")
    try:
        values = np.asarray(weights, np.float64)
    except (TypeError, ValueError):  # such as a tensor on a GPU
        raise InputError(f"weights are an array of {len(store)} numbers, got {type(weights).__name__}") from None
    if values.shape != (len(store),):
        raise InputError(f"weights of {list(values.shape)} do not fit the {len(store)} samples of {store.path}")
    return weighted(values)


def _check_names(function: Callable[..., Any], options: Mapping[str, Any], declared: type) -> None:
    """Raise TypeError for an option that is not `declared`, with the nearest that `function` does take."""
    known = [*inspect.signature(function).parameters, *declared.__annotations__] if options else []
    for name in options:
        if name not in declared.__annotations__:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(declared.__annotations__)}"
            raise TypeError(f"{function.__name__} has no option {name}: {hint}")


def opened_store(store: str | Path | ImageStore) -> ImageStore:
    """The store itself, or the one at that path; raises InputError for anything else."""
    if isinstance(store, ImageStore):
        return store
    if not isinstance(store, str | os.PathLike):
        kind = type(store).__name__
        raise InputError(f"a store is a path, an ImageStore or, of a part, a Subset of sdali.pipelines; got {kind}")
    return ImageStore(store)


def augmentation_of(kind: type[T], augmentation: T | None, name: str = "augmentation") -> T:
    """The augmentation given, else the task's default; others, such as torchvision's transforms, are refused."""
    if not isinstance(augmentation, kind | None):
        got, wanted = type(augmentation).__name__, f"{kind.__name__} of sdali.pipelines"
        raise InputError(f"{name} must be {wanted}, got {got}; others come after the loader")
    return augmentation or kind()

"""The one loop that fills a heatmap store, whatever its maps are made from, and the report on it.

A killed run continues where it stopped: only the missing maps are made. Under torchrun each rank makes its share, and
rank 0 publishes the store when all ranks are done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..pipelines.errors import InputError
from ..pipelines.io.progress import Track
from ..pipelines.store.heatmaps import HeatmapStore
from .store.writer import HeatmapWriter

MAPS_A_COMMIT = 256  # a kill costs at most this many maps
MAPS_SURVEYED = 10_000  # evenly spaced: a standard error below 0.5 %

Maps = Callable[[np.ndarray], Iterator[np.ndarray]]
"""Indices int64 [n] -> one uint8 map [h, w] for each, in their order."""


def fill(
    writer: HeatmapWriter,
    maps: Maps,
    progress: Track,
    *,
    commit: int = MAPS_A_COMMIT,
    rows: np.ndarray | None = None,
) -> dict[str, Any]:
    """Make the maps that the writer lacks, commit them `commit` at a time, and publish the store.

    rows: int64 [N], where in a file the map of each index is, so that the file is read from front to back; None for no
    file. Returns a report that JSON can hold, the same keys for every kind of map.
    """
    with writer:
        begun, missing = time.perf_counter(), writer.missing()
        if rows is not None:
            missing = missing[np.argsort(rows[missing], kind="stable")]
        made = progress(maps(missing), len(missing), "heatmaps") if len(missing) else iter(())
        items = zip(missing.tolist(), made, strict=True)
        while chunk := list(islice(items, commit)):
            writer.put(*zip(*chunk, strict=True))
        seconds = time.perf_counter() - begun
        if writer.rank:
            writer.close()
        _barrier(writer.world_size)  # all maps are committed
        if writer.rank == 0:
            writer.finish()
    _barrier(writer.world_size)  # the store is published
    heatmaps = HeatmapStore(writer.path)
    return {
        "heatmaps": str(writer.path),
        "images": writer.count,
        "method": heatmaps.header["method"],
        "made": len(missing),
        "seconds": seconds,
        "images_per_second": len(missing) / seconds,
        **survey(heatmaps),
    }


def check_group(world_size: int) -> None:
    """Raise InputError if there are several ranks that cannot wait for each other, before any work is done."""
    if world_size > 1:
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise InputError(f"{world_size} ranks need torch.distributed.init_process_group first; start with torchrun")


def _barrier(world_size: int) -> None:
    if world_size > 1:
        import torch.distributed

        torch.distributed.barrier()


def survey(heatmaps: HeatmapStore) -> dict[str, float]:
    """What the maps look like, in two numbers over all maps, or over 10,000 evenly spaced ones.

    `empty_share` is the share of maps without a positive cell, whose crops are not guided. `mean_spread` is
    exp(entropy) / cells of a map taken as a distribution, averaged over the other maps: 1 for a uniform map, which
    guides nothing, and 1 / (h * w) for a map with a single positive cell.
    """
    count = len(heatmaps)
    indices = np.linspace(0, count - 1, min(count, MAPS_SURVEYED)).astype(int).tolist()
    spreads = [_spread(heatmaps[index]) for index in indices]
    guiding = [spread for spread in spreads if spread > 0]
    return {
        "empty_share": 1 - len(guiding) / len(spreads),
        "mean_spread": float(np.mean(guiding)) if guiding else 0.0,
    }


def _spread(heatmap: np.ndarray) -> float:
    cells = heatmap[heatmap > 0].astype(np.float64)
    if not len(cells):
        return 0.0
    shares = cells / cells.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / heatmap.size)

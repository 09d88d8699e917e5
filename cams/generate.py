"""From images to a heatmap store: with a classifier's activation maps, from the store's own masks or boxes, or a file.

A killed run goes on where it was: only the maps that are missing are made, in the same batches. Under torchrun each
rank makes its share, and rank 0 publishes when all are done. Each function returns a report that JSON can hold.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..pipelines.config import MOST_IN_A_BATCH
from ..pipelines.errors import InputError
from ..pipelines.io.bounds import at_most, whole_number
from ..pipelines.io.parallel import ordered_map
from ..pipelines.io.progress import Track, silent
from ..pipelines.store.heatmaps import LARGEST_SIDE, HeatmapStore, quantise
from ..pipelines.store.reader import ImageStore
from ..pipelines.store.subset import Subset
from .from_annotations import GRID, boxes_heatmap, mask_heatmap
from .store.hdf5 import HeatmapFile
from .store.writer import HeatmapWriter
from .survey import survey

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..pipelines.store.statistics import Statistics

    MapMaker = Callable[[nn.Module, Tensor, Tensor], Tensor]  # model, images, labels -> maps float32 [B, h, w]

MAPS_A_COMMIT = 256  # from annotations; a kill costs at most as many

Method = Literal["auto", "cam", "gradcam"]
"""How a classifier's maps are made. auto: by CAM where it is exact, else by Grad-CAM."""

Maps = Callable[[np.ndarray], Iterator[np.ndarray]]  # indices -> one uint8 map [h, w] for each, in order


def generate(
    store: ImageStore,
    path: str | Path,
    *,
    model: nn.Module,
    model_digest: str,
    method: Method = "auto",
    statistics: Statistics | None = None,
    size: int = 224,
    batch_size: int = 64,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    rank: int = 0,
    world_size: int = 1,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of the ground-truth class (CAM or Grad-CAM) of every image, squashed whole to the network's input.

    Args:
        store: images that all have a label.
        path: the heatmap store to be.
        model: a classifier of the store's classes (see activation and grad_cam).
        model_digest: identity of its weights; partial work of other weights is discarded.
        method: how maps are made, decided once for the model; the report and the store's header say which it was.
        statistics: those the model was trained with; None: the store's own, or ImageNet's.
        size: side of the network's input in pixels.
        rank, world_size: this process's place under torchrun; more than one need an initialised process group.

    Raises:
        InputError: images without label, a model that the method does not take or of other classes, an existing `path`.
    """
    from .activation import model_name

    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    _check_group(world_size)
    whole_number("batch_size", batch_size, MOST_IN_A_BATCH)
    if unlabelled := np.flatnonzero(store.labels < 0).tolist():
        name = store.names[unlabelled[0]]
        raise InputError(
            f"{len(unlabelled)} images of {store.path} have no class, the first is {name}; build it without them"
        )
    named, maps_of = _map_maker(model.eval(), method, size)
    loading = {"batch_size": batch_size, "size": size, "statistics": statistics, "device": device, "threads": threads}
    writer = HeatmapWriter(
        path,
        count=len(store),
        images_digest=store.digest,
        method=f"{named} of {model_name(model)} at {size} pixels",
        model_digest=model_digest,
        overwrite=overwrite,
        rank=rank,
        world_size=world_size,
    )
    return fill(writer, lambda i: _activation_maps(Subset(store, i), model, maps_of, loading), batch_size, progress)


def from_masks(
    store: ImageStore,
    path: str | Path,
    *,
    foreground: tuple[int, ...] | None = None,
    grid: int = GRID,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of the share of foreground in each of grid x grid cells; empty for an image without a mask.

    `foreground`: mask values, None: all but 0 and 255. Raises InputError for a store without masks.
    """
    if not store.has_masks:
        raise InputError(f"{store.path} has no masks; build it with masks, or make heatmaps from a classifier")
    check_grid(grid)
    if foreground is not None and not (foreground and set(foreground) <= set(range(256))):
        raise InputError(f"foreground must be mask values from 0 to 255, got {foreground}")
    values = "all but 0 and 255" if foreground is None else ", ".join(map(str, sorted(foreground)))
    method = f"masks, foreground {values}, {grid} x {grid} cells"
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=method, overwrite=overwrite)

    def heatmap(index: int) -> np.ndarray:
        if not store.has_mask(index):
            return np.zeros((grid, grid), np.uint8)
        return mask_heatmap(store.mask(index), foreground, grid)

    return fill(writer, lambda missing: ordered_map(heatmap, missing.tolist(), workers), MAPS_A_COMMIT, progress)


def from_boxes(
    store: ImageStore,
    path: str | Path,
    *,
    grid: int = GRID,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of the share inside any box of each of grid x grid cells; InputError for a store without boxes."""
    if not store.has_boxes:
        raise InputError(f"{store.path} has no boxes; build it with boxes, or make heatmaps from a classifier")
    check_grid(grid)
    method = f"boxes, {grid} x {grid} cells"
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=method, overwrite=overwrite)

    def heatmap(index: int) -> np.ndarray:
        height, width = store.sizes[index].tolist()
        return boxes_heatmap(store.boxes(index)[0], height, width, grid)

    return fill(writer, lambda missing: ordered_map(heatmap, missing.tolist(), workers), MAPS_A_COMMIT, progress)


def from_hdf5(
    store: ImageStore,
    path: str | Path,
    *,
    maps: str | Path,
    dataset: str = "maps",
    overwrite: bool = False,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps from an HDF5 file of maps [h, w], in the order of the store or with names (see heatmap_hdf5).

    Each map is scaled to its own maximum, as all heatmaps are. Raises InputError for a file that cannot be used.
    """
    file = HeatmapFile(Path(maps), store, dataset)
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=file.method, overwrite=overwrite)
    return fill(writer, lambda missing: map(file.heatmap, missing.tolist()), MAPS_A_COMMIT, progress, file.rows)


def _map_maker(model: nn.Module, method: Method, size: int) -> tuple[str, MapMaker]:
    """What the method is called, and its function."""
    from .activation import check_exact_map, class_activation_maps, has_exact_map
    from .grad_cam import grad_cam

    if method == "cam":
        check_exact_map(model, size)
    if method == "cam" or (method == "auto" and has_exact_map(model, size)):
        return "CAM", class_activation_maps
    return "Grad-CAM", grad_cam


def _activation_maps(
    part: Subset, model: nn.Module, maps_of: MapMaker, loading: dict[str, Any]
) -> Iterator[np.ndarray]:
    from ..pipelines.classification import test_loader

    with closing(test_loader(part, crop="whole", **loading)) as loader:
        for batch in loader:
            images = batch["image"]
            maps = maps_of(model.to(images.device), images, batch["label"].to(images.device))
            yield from quantise(maps.cpu().numpy())


def fill(
    writer: HeatmapWriter, maps: Maps, commit: int, progress: Track, places: np.ndarray | None = None
) -> dict[str, Any]:
    """Make what the writer misses, commit every `commit` maps, publish, report.

    `places` int64 [N]: where the maps of the indices lie, to take them in this order; None: that of the indices.
    """
    with writer:
        begun, missing = time.perf_counter(), writer.missing()
        if places is not None:
            missing = missing[np.argsort(places[missing], kind="stable")]
        made = progress(maps(missing), len(missing), "heatmaps") if len(missing) else iter(())
        items = zip(missing.tolist(), made, strict=True)
        while chunk := list(islice(items, commit)):
            writer.put(*zip(*chunk, strict=True))
        seconds = time.perf_counter() - begun
        if writer.rank:
            writer.close()
        _barrier(writer.world_size)
        if writer.rank == 0:
            writer.finish()
    _barrier(writer.world_size)
    heatmaps = HeatmapStore(writer.path)
    what = {"heatmaps": str(writer.path), "images": writer.count, "method": heatmaps.header["method"]}
    rate = {"made": len(missing), "seconds": seconds, "images_per_second": len(missing) / seconds}
    return {**what, **rate, **survey(heatmaps)}


def check_grid(grid: int) -> None:
    """Raise InputError for a number of cells a side that no map can have."""
    if not 1 <= grid <= LARGEST_SIDE:
        raise InputError(f"grid must be 1 to {LARGEST_SIDE:,} cells a side, got {grid}")
    at_most("grid", grid, 1 << 12)


def _check_group(world_size: int) -> None:
    """More than one rank must be able to wait for each other; found out before the work rather than after it."""
    if world_size > 1:
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise InputError(f"{world_size} ranks need torch.distributed.init_process_group first; start with torchrun")


def _barrier(world_size: int) -> None:
    """Wait for all ranks; nothing to wait for where there is one."""
    if world_size > 1:
        import torch.distributed

        torch.distributed.barrier()

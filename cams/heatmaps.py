"""Making a heatmap store: from a classifier, from the masks or boxes of the image store, or from an HDF5 file.

Each function writes one map for each image and returns a report that JSON can hold: `heatmaps` (the path), `images`,
`method`, `made` (maps that this run has made, on all ranks), `seconds`, `images_per_second`, and what `survey`
measures. They differ in where a map comes from. `fill` writes them all: a killed run continues where it stopped, with
the maps that are missing; under torchrun each rank makes its share, and rank 0 publishes the store when all are done.
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
from ..pipelines.io.bounds import whole_number
from ..pipelines.io.parallel import ordered_map
from ..pipelines.io.progress import Track, silent
from ..pipelines.store.heatmaps import HeatmapStore, quantise
from ..pipelines.store.measure import class_frequencies
from ..pipelines.store.reader import ImageStore
from ..pipelines.store.subset import Subset
from .annotation_maps import GRID, boxes_heatmap, mask_heatmap, rare_class_heatmap, value_weights
from .store.hdf5 import HeatmapFile
from .store.writer import HeatmapWriter
from .survey import survey

if TYPE_CHECKING:
    from torch import nn

    from ..pipelines.store.statistics import Statistics

LARGEST_GRID = 4096  # cells on each side; our choice, above any image that a map could guide
MAPS_A_COMMIT = 256  # a kill costs at most this many maps

Maps = Callable[[np.ndarray], Iterator[np.ndarray]]
"""Indices int64 [n] -> one uint8 map [h, w] for each, in their order."""

Method = Literal["auto", "cam", "gradcam"]
"""How a classifier's maps are made. auto: by CAM where it is exact, else by Grad-CAM."""


def generate(
    store: ImageStore,
    path: str | Path,
    *,
    model: nn.Module,
    model_digest: str,
    method: Method = "auto",
    statistics: Statistics | str | Path | None = None,
    size: int = 224,
    batch_size: int = 64,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    rank: int = 0,
    world_size: int = 1,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of each image's class from a classifier, which sees the whole image, resized without regard to aspect.

    Args:
        store: images that all have a label.
        path: the heatmap store to write.
        model: a classifier of the store's classes (see `activation`).
        model_digest: identity of its weights; maps that a killed run made with other weights are discarded.
        method: how maps are made, chosen once for the model; the report and the store's header name the choice.
        statistics: mean and deviation that the model was trained with; None for the store's, or else ImageNet's.
        size: side of the network's input in pixels.
        rank: of this process under torchrun.
        world_size: the number of its processes; more than one needs an initialised process group.

    Raises:
        InputError: images without label, a model that the method does not take or of other classes, an existing `path`.
    """
    from ..pipelines.classification import test_loader
    from .activation import check_exact_map, class_activation_maps, grad_cam, has_exact_map, model_name

    if method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    check_group(world_size)
    whole_number("batch_size", batch_size, MOST_IN_A_BATCH)
    if unlabelled := np.flatnonzero(store.labels < 0).tolist():
        name = store.names[unlabelled[0]]
        raise InputError(
            f"{len(unlabelled)} images of {store.path} have no class, the first is {name}; build it without them"
        )
    model.eval()
    if method == "cam":
        check_exact_map(model, size)  # raises what a probe in vain would hide
    exact = method == "cam" or (method == "auto" and has_exact_map(model, size))
    maps_of = class_activation_maps if exact else grad_cam
    options = {"batch_size": batch_size, "size": size, "statistics": statistics, "device": device, "threads": threads}

    def maps(missing: np.ndarray) -> Iterator[np.ndarray]:
        with closing(test_loader(Subset(store, missing), crop="whole", **options)) as loader:
            for batch in loader:
                images = batch["image"]
                made = maps_of(model.to(images.device), images, batch["label"].to(images.device))
                yield from quantise(made.cpu().numpy())

    writer = HeatmapWriter(
        path,
        count=len(store),
        images_digest=store.digest,
        method=f"{'CAM' if exact else 'Grad-CAM'} of {model_name(model)} at {size} pixels",
        model_digest=model_digest,
        overwrite=overwrite,
        rank=rank,
        world_size=world_size,
    )
    return fill(writer, maps, progress, commit=batch_size)


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

    foreground: the mask values that are the object; None: all but 0 and 255. Raises InputError for a store without
    masks.
    """
    if not store.has_masks:
        raise InputError(f"{store.path} has no masks; build it with masks, or make heatmaps from a classifier")
    if foreground is not None and not (foreground and set(foreground) <= set(range(256))):
        raise InputError(f"foreground must be mask values from 0 to 255, got {foreground}")
    values = "all but 0 and 255" if foreground is None else ", ".join(map(str, sorted(foreground)))

    def heatmap(index: int) -> np.ndarray:
        if not store.has_mask(index):
            return np.zeros((grid, grid), np.uint8)
        return mask_heatmap(store.mask(index), foreground, grid)

    return _from_annotations(store, path, f"masks, foreground {values}", heatmap, grid, overwrite, workers, progress)


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

    def heatmap(index: int) -> np.ndarray:
        height, width = store.sizes[index].tolist()
        return boxes_heatmap(store.boxes(index)[0], height, width, grid)

    return _from_annotations(store, path, "boxes", heatmap, grid, overwrite, workers, progress)


def from_rare_classes(
    store: ImageStore,
    path: str | Path,
    *,
    grid: int = GRID,
    overwrite: bool = False,
    workers: int | None = None,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps of where rare classes are, in grid x grid cells; empty for an image whose pixels are all ignored.

    Raises InputError for a store without masks of classes, BadSampleError for a damaged mask.
    """
    _check_grid(grid)
    weight_of = value_weights(class_frequencies(store, workers=workers, progress=progress))

    def heatmap(index: int) -> np.ndarray:
        return rare_class_heatmap(store.mask(index), weight_of, grid)

    method = "rare classes, 1 / frequency"
    return _from_annotations(store, path, method, heatmap, grid, overwrite, workers, progress)


def from_hdf5(
    store: ImageStore,
    path: str | Path,
    *,
    maps: str | Path,
    dataset: str = "maps",
    overwrite: bool = False,
    progress: Track = silent,
) -> dict[str, Any]:
    """Heatmaps from an HDF5 file of maps [h, w], in the order of the store or with names (see `store.hdf5`).

    Each map is scaled to its maximum, as all heatmaps are. Raises InputError for a file that cannot be used.
    """
    file = HeatmapFile(Path(maps), store, dataset)
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=file.method, overwrite=overwrite)
    return fill(writer, lambda missing: map(file.heatmap, missing.tolist()), progress, rows=file.rows)


def _from_annotations(
    store: ImageStore,
    path: str | Path,
    method: str,
    heatmap: Callable[[int], np.ndarray],
    grid: int,
    overwrite: bool,
    workers: int | None,
    progress: Track,
) -> dict[str, Any]:
    """Fill a store with the map that `heatmap` makes for each index, on several threads."""
    _check_grid(grid)
    method = f"{method}, {grid} x {grid} cells"
    writer = HeatmapWriter(path, count=len(store), images_digest=store.digest, method=method, overwrite=overwrite)
    return fill(writer, lambda missing: ordered_map(heatmap, missing.tolist(), workers), progress)


def _check_grid(grid: int) -> None:
    if not 1 <= grid <= LARGEST_GRID:
        raise InputError(f"grid must be 1 to {LARGEST_GRID:,} cells on each side, got {grid}")


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
        if writer.rank:
            writer.close()
        total = _total(len(missing), writer.world_size)  # all maps are committed
        seconds = time.perf_counter() - begun
        if writer.rank == 0:
            writer.finish()
    _total(0, writer.world_size)  # the store is published
    heatmaps = HeatmapStore(writer.path)
    return {
        "heatmaps": str(writer.path),
        "images": writer.count,
        "method": heatmaps.header["method"],
        "made": total,
        "seconds": seconds,
        "images_per_second": total / seconds,
        **survey(heatmaps),
    }


def check_group(world_size: int) -> None:
    """Raise InputError if there are several ranks that cannot wait for each other, before any work is done."""
    if world_size > 1:
        import torch.distributed as distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            raise InputError(f"{world_size} ranks need torch.distributed.init_process_group first; start with torchrun")


def _total(count: int, world_size: int) -> int:
    """The sum of the counts of all ranks; none of them goes on before all are here."""
    if world_size == 1:
        return count
    import torch.distributed

    counts = [0] * world_size
    torch.distributed.all_gather_object(counts, count)
    return sum(counts)

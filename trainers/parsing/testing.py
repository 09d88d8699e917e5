"""Testing a trained network of scene parsing: scales and mirror images, figures by class, predictions as PNG files."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor, nn

from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_output, check_outputs, write_errors, write_file
from ...pipelines.parsing import test_loader
from ...pipelines.sources.mask_png import encode_mask
from ...pipelines.store.reader import ImageStore, check_masks_of_classes
from ...pipelines.store.statistics import Statistics
from ...pipelines.store.subset import Subset
from ..core.classes import check_same_classes
from ..core.distributed import Ranks, process_group
from ..core.machine import resolve_precision, threads_per_rank, torch_settings
from ..metrics.mean_iou import MeanIou
from .checkpoint import load_parser
from .config import EvaluateConfig
from .evaluation import Seen, count_pixels, whole_image_batch
from .pictures import save_parsing_picture, shown_samples

BATCH_SIZE = 8  # where images are of one size


def evaluate(config: EvaluateConfig, progress: Track = silent) -> dict[str, Any]:
    """How a trained network does on a store; predictions are compared at the images' original size.

    Returns plain JSON: `score` (mean of the next two), `mean_iou`, `pixel_accuracy`, `per_class` (IoU by class name, 0
    for one that never occurs), `pixels` (with a class), `images`, `images_per_second`, `scales`, `flip`; `predictions`
    and `picture` where they were written. Raises InputError for what cannot be used or does not fit together.
    """
    check_outputs(config, "picture")
    with process_group(config.device) as ranks:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads):
            model, saved = load_parser(config.checkpoint, ranks.device)
            store = ImageStore(config.store)
            check_masks_of_classes(store)
            check_same_classes(store, saved["classes"], config.checkpoint)
            if config.predictions is not None:
                _check_folder(config.predictions, store, overwrite=config.overwrite)
            test = _Test(config, model, saved, store, ranks, threads)
            begun = time.perf_counter()
            result = test.count(progress if ranks.is_first else silent).compute()
            seconds = time.perf_counter() - begun
            if config.picture is not None and ranks.is_first:
                test.draw(config.picture)
    written = {"predictions": config.predictions, "picture": config.picture}
    return {
        **result,
        "per_class": dict(zip(store.classes, result["per_class"], strict=True)),
        "images": len(store),
        "images_per_second": len(store) / seconds,
        "scales": list(config.scales),
        "flip": config.flip,
        **{name: str(path) for name, path in written.items() if path is not None},
    }


@dataclass(frozen=True)
class _Test:
    """What an evaluation works with."""

    config: EvaluateConfig
    model: nn.Module
    saved: dict[str, Any]
    store: ImageStore
    ranks: Ranks
    threads: int

    def count(self, progress: Track) -> MeanIou:
        """Over all ranks' images; predictions are written as they come."""
        folder = self.config.predictions

        def seen(batch: dict[str, Any], predictions: Tensor) -> None:
            if folder is not None:
                names = [self.store.names[index] for index in batch["index"].tolist()]
                _write(folder, names, predictions, overwrite=self.config.overwrite)

        return self._count(self.store, self.ranks, progress, seen)

    def draw(self, path: Path) -> None:
        """A few images of the store, whatever the ranks."""
        part, found = Subset(self.store, shown_samples(self.store)), []

        def seen(_: dict[str, Any], predictions: Tensor) -> None:
            found.extend(predictions.cpu().numpy().astype(np.uint8))

        self._count(part, Ranks(device=self.ranks.device), silent, seen)
        save_parsing_picture(path, part, found, overwrite=self.config.overwrite)

    def _count(self, store: ImageStore, ranks: Ranks, progress: Track, seen: Seen) -> MeanIou:
        loading: dict[str, Any] = {
            "batch_size": whole_image_batch(store, BATCH_SIZE),
            "shorter_side": self.saved["shorter_side"],
            "statistics": Statistics.from_dict(self.saved["statistics"]),
            "device": str(ranks.device),
            "threads": self.threads,
            "rank": ranks.rank,
            "world_size": ranks.world_size,
            "pin_memory": ranks.device.type == "cuda",
        }
        with ExitStack() as opened:
            loaders = [
                opened.enter_context(closing(test_loader(store, scale=scale, **loading)))
                for scale in self.config.scales
            ]
            return count_pixels(
                self.model,
                progress(zip(*loaders, strict=True), len(loaders[0]), "evaluating"),
                classes=len(store.classes),
                ranks=ranks,
                precision=resolve_precision(self.config.precision, ranks.device),
                flip=self.config.flip,
                seen=seen,
            )


def _check_folder(folder: Path, store: ImageStore, *, overwrite: bool) -> None:
    """Make the folder; raises InputError, before anything is counted, where predictions could not be written into it,
    a file exists that may not be replaced, or two images would have one file.
    """
    images = {}
    for name in store.names:
        path = _prediction_path(folder, name)
        if (other := images.setdefault(path, name)) != name:
            raise InputError(f"{other} and {name} would both be written to {path}; build the store with one of them")
        if os.path.lexists(path):
            check_output(path, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder} ({error.strerror}); give --predictions another") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write into the folder {folder}; give --predictions another")


def _prediction_path(folder: Path, name: str) -> Path:
    relative = PurePosixPath(name).with_suffix(".png")
    if relative.is_absolute() or ".." in relative.parts:
        raise InputError(f"the image {name!r} would be written outside {folder}; build the store again")
    return folder / relative


def _write(folder: Path, names: list[str], predictions: Tensor, *, overwrite: bool) -> None:
    """One PNG of class indices for each image, int64 [B, H, W]."""
    for name, prediction in zip(names, predictions.cpu().numpy().astype(np.uint8), strict=True):
        path = _prediction_path(folder, name)
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, encode_mask(prediction), overwrite=overwrite)

"""Testing a trained network of scene parsing: scales and mirror images, figures by class, predictions as PNG files."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from ..pipelines.errors import InputError
from ..pipelines.mask_classes import check_masks_of_classes
from ..pipelines.parsing import test_loader
from ..pipelines.progress import Track, silent
from ..pipelines.sources_masks import encode_mask
from ..pipelines.statistics import Statistics
from ..pipelines.store_read import ImageStore
from ..pipelines.store_write import write_errors
from .classes import check_same_classes
from .distributed import process_group
from .machine import resolve_precision, threads_per_rank, torch_settings
from .parsing_checkpoint import load_parser
from .parsing_config import EvaluateConfig
from .parsing_evaluation import count_pixels, whole_image_batch

BATCH_SIZE = 8  # where images are of one size


def evaluate(config: EvaluateConfig, progress: Track = silent) -> dict[str, Any]:
    """How a trained network does on a store; predictions are compared at the images' original size.

    Returns plain JSON: `score` (mean of the next two), `mean_iou`, `pixel_accuracy`, `per_class` (IoU by class name, 0
    for one that never occurs), `pixels` (with a class), `images`, `images_per_second`, `scales`, `flip`, and
    `predictions` where they were written. Raises InputError for what cannot be used or does not fit together.
    """
    with process_group(config.device) as ranks, ExitStack() as opened:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        opened.enter_context(torch_settings(device=ranks.device, threads=threads))
        model, saved = load_parser(config.checkpoint, ranks.device)
        store = ImageStore(config.store)
        check_masks_of_classes(store)
        check_same_classes(store, saved["classes"], config.checkpoint)
        loading: dict[str, Any] = {
            "batch_size": whole_image_batch(store, BATCH_SIZE),
            "shorter_side": saved["shorter_side"],
            "statistics": Statistics.from_dict(saved["statistics"]),
            "device": str(ranks.device),
            "threads": threads,
            "rank": ranks.rank,
            "world_size": ranks.world_size,
            "pin_memory": ranks.device.type == "cuda",
        }
        loaders = [opened.enter_context(closing(test_loader(store, scale=s, **loading))) for s in config.scales]

        def seen(batch: dict[str, Any], predictions: Tensor) -> None:
            if config.predictions is not None:
                _write(config.predictions, [store.names[i] for i in batch["index"].tolist()], predictions)

        begun = time.perf_counter()
        shown = progress if ranks.is_first else silent
        metric = count_pixels(
            model,
            shown(zip(*loaders, strict=True), len(loaders[0]), "evaluating"),
            classes=len(store.classes),
            ranks=ranks,
            precision=resolve_precision(config.precision, ranks.device),
            flip=config.flip,
            seen=seen,
        )
        seconds = time.perf_counter() - begun
    result = metric.compute()
    written = {} if config.predictions is None else {"predictions": str(config.predictions)}
    return {
        **result,
        "per_class": dict(zip(store.classes, result["per_class"], strict=True)),
        "images": len(store),
        "images_per_second": len(store) / seconds,
        "scales": list(config.scales),
        "flip": config.flip,
        **written,
    }


def _write(folder: Path, names: list[str], predictions: Tensor) -> None:
    """One PNG of class indices for each image, int64 [B, H, W]."""
    for name, prediction in zip(names, predictions.cpu().numpy().astype(np.uint8), strict=True):
        relative = PurePosixPath(name).with_suffix(".png")
        if relative.is_absolute() or ".." in relative.parts:
            raise InputError(f"the image {name!r} would be written outside {folder}; build the store again")
        path = folder / relative
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_mask(prediction))

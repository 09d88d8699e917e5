"""Evaluating networks of scene parsing on whole images, at several scales and mirrored, at the original size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.parsing import test_loader
from ...pipelines.store.reader import ImageStore, check_masks_of_classes
from ...pipelines.store.subset import Subset
from ..core.evaluation import Evaluation, opened_evaluation, written_files
from ..core.pictures import shown_samples
from ..core.process import Process
from ..core.progress import Stopwatch
from ..metrics.mean_iou import MeanIou
from .config import EvaluateConfig
from .pictures import save_parsing_picture
from .predictions import check_folder, write_predictions

Seen = Callable[[dict[str, Any], Tensor], None]
BATCH_SIZE = 8  # where images are of one size
SCORES = 2**27  # of a test batch; a few copies of them are in memory at a time


def evaluate(config: EvaluateConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Evaluate a trained network on a store; predictions are compared at the images' original size.

    Returns plain JSON: `score` (mean of the next two), `mean_iou`, `pixel_accuracy`, `per_class` (IoU by class name, 0
    for one that never occurs), `pixels` (with a class), `images`, `images_per_second`, `scales`, `flip`; `predictions`
    and `picture` where they were written. Raises InputError for what cannot be used or does not fit together.
    """
    check_outputs(config, "picture")
    with opened_evaluation(
        config, [config.checkpoint], task="parsing", check_store=check_masks_of_classes
    ) as evaluation:
        store, folder = evaluation.store, config.predictions
        if folder is not None:
            check_folder(folder, store, overwrite=config.overwrite)
            evaluation.process.barrier()  # else a rank may find what another has written already

        def write(batch: dict[str, Any], predictions: Tensor) -> None:
            if folder is not None:
                write_predictions(
                    folder, [store.names[index] for index in batch["index"].tolist()], predictions, len(store.classes)
                )

        stopwatch = Stopwatch()
        result = _counted(config, evaluation, progress, write).compute()
        seconds, _ = stopwatch.lap()
        if config.picture is not None and evaluation.process.is_first:
            _draw(config, config.picture, evaluation)
    return {
        **result,
        "per_class": dict(zip(store.classes, result["per_class"], strict=True)),
        "images": len(store),
        "images_per_second": len(store) / seconds,
        "scales": list(config.scales),
        "flip": config.flip,
        **written_files(config, "predictions", "picture"),
    }


def _counted(config: EvaluateConfig, evaluation: Evaluation, progress: Track, seen: Seen) -> MeanIou:
    """The mean IoU over the store's images of all ranks; `seen` is as of count_pixels."""
    (network,) = evaluation.networks
    options = {
        "batch_size": whole_image_batch(evaluation.store, BATCH_SIZE),
        "shorter_side": network.contents["shorter_side"],
    }
    loaders = [evaluation.loader(test_loader, scale=scale, **options) for scale in config.scales]
    return count_pixels(
        network.module,
        evaluation.batches(loaders, progress),
        classes=len(evaluation.store.classes),
        process=evaluation.process,
        flip=config.flip,
        seen=seen,
    )


def _draw(config: EvaluateConfig, path: Path, evaluation: Evaluation) -> None:
    """Draw a few images of the store, all of them predicted on this rank."""
    part, found = Subset(evaluation.store, shown_samples(evaluation.store)), []
    alone = replace(evaluation.process, rank=0, world_size=1)

    def keep(_: dict[str, Any], predictions: Tensor) -> None:
        found.extend(predictions.cpu().numpy().astype(np.uint8))

    with ExitStack() as opened:
        _counted(config, replace(evaluation, process=alone, store=part, opened=opened), silent, keep)
    save_parsing_picture(path, part, found, overwrite=config.overwrite)


@torch.inference_mode()
def count_pixels(
    model: nn.Module,
    batches: Iterable[Sequence[dict[str, Any]]],
    *,
    classes: int,
    process: Process,
    flip: bool = False,
    seen: Seen = lambda batch, predictions: None,
) -> MeanIou:
    """The mean IoU over all ranks' batches, on each rank; the model is in evaluation mode afterwards.

    batches: of test loaders, the same images at each scale; each image is in exactly one batch of one rank, which may
    be empty. seen: is called with each batch and its predictions, int64 [B, H, W] on the device.
    """
    model.eval()
    metric = MeanIou.empty(classes, process.device)
    for scales in batches:
        if len(scales[0]["index"]):
            masks = scales[0]["mask"].to(process.device, non_blocking=True)
            images = [batch["image"].to(process.device, non_blocking=True) for batch in scales]
            with process.autocast():
                predictions = mean_softmax(model, images, masks.shape[1:], flip=flip).argmax(1)
            metric = metric.merge(MeanIou.of(predictions, masks, classes=classes))
            seen(scales[0], predictions)
    return MeanIou(process.sum(metric.totals))


def mean_softmax(model: nn.Module, scales: Sequence[Tensor], size: Sequence[int], *, flip: bool) -> Tensor:
    """float32 [B, K, *size]: the mean over scales, and mirror images, of the softmax of scores resized to `size`.

    scales: the same images, [B, 3, h, w] of any sizes. Source: the talk (multi-scale and flip in the test); that
    softmax is averaged is our choice.
    """
    total: Tensor | None = None
    for images in scales:
        for mirrored in (False, True)[: 1 + flip]:
            scores = model(images.flip(3) if mirrored else images)
            scores = scores.flip(3) if mirrored else scores
            if scores.shape[2:] != tuple(size):
                scores = F.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)
            # Added up in place: at 150 classes an image of 2 megapixels has 1.2 GB of scores.
            softmax = scores.softmax(1)
            total = softmax if total is None else total.add_(softmax)
            del scores, softmax  # before the next view's
    assert total is not None
    return total.div_(len(scales) * (1 + flip))


def whole_image_batch(store: ImageStore, batch_size: int) -> int:
    """Images in a test batch, at most `batch_size`: 1 where their sizes differ, which no tensor can hold, and no more
    than have 2**27 scores (0.5 GB) at their original size.
    """
    if len(np.unique(store.sizes, axis=0)) > 1:
        return 1
    return min(batch_size, max(1, SCORES // (len(store.classes) * int(store.sizes[0].prod()))))

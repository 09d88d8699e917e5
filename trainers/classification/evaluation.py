"""Evaluating classifiers: the mean softmax of all views, scales and networks of each image, and how right it is.

Sources: the talk ("train and test in harmony": 32 random crops where training has scale and aspect augmentation,
several scales, intermediate checkpoints of the run). That softmax is averaged, not scores, is our choice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ..metrics.classification import Accuracy, Calibration, ConfusionCounts
from .evaluation_config import EvaluateConfig
from .pictures import save_confusion_picture
from .predictions import PredictionWriter, written_predictions
from .testing import Test, kept_checkpoints, opened_test
from .view_scores import view_scores


def evaluate(config: EvaluateConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Evaluate a checkpoint, or several of a run, on a store; writes what the configuration names, else nothing.

    Returns plain JSON: `top1`, `top1_error`, `top5`, `top5_error` (of more than 5 classes), `loss` (mean negative log
    of the label's averaged probability, nats), `ece` (expected calibration error), `images`, `per_class` (class name ->
    top-1, None for a class without images), `images_per_second`, `checkpoints` (their files), `scales`, `views`,
    `crop`, and `predictions` and `picture` where they were written.
    Raises InputError for checkpoints, a store or classes that cannot be used, and files that cannot be written.
    """
    check_outputs(config, "predictions", "picture")
    kept = [] if config.checkpoints is None else kept_checkpoints(config.checkpoint, int(config.checkpoints[4:]))
    with opened_test(
        config, checkpoints=kept, scales=config.scales, crops=config.crops, random_flip=not config.flip
    ) as test:
        classes, device, begun = len(test.store.classes), test.ranks.device, time.perf_counter()
        accuracy, calibration = Accuracy.empty(classes, device), Calibration.empty(device)
        confusion = ConfusionCounts.empty(classes, device)
        shown = progress if test.ranks.is_first else silent
        batches = shown(zip(*test.loaders, strict=True), len(test.loaders[0]), "evaluating")
        with _kept_predictions(config, test) as writer:
            for scores in view_scores(test, batches, mirrored=config.flip):
                mean = scores.softmax.double().mean((1, 2, 3))
                accuracy = accuracy.merge(Accuracy.of_probabilities(mean, scores.labels))
                calibration = calibration.merge(Calibration.of(mean, scores.labels))
                confusion = confusion.merge(ConfusionCounts.of(mean, scores.labels))
                if config.predictions is not None:
                    indices, softmax = (test.ranks.gathered(part).cpu() for part in (scores.indices, scores.softmax))
                    if writer is not None:
                        writer.put(indices.numpy(), softmax.numpy())
        seconds = time.perf_counter() - begun
        for metric in (accuracy, calibration, confusion):
            test.ranks.sum(metric.totals)
        if config.picture is not None and test.ranks.is_first:
            save_confusion_picture(config.picture, confusion.compute(), test.store.classes, overwrite=config.overwrite)
    result = accuracy.compute()
    errors = {f"{name}_error": 1 - result[name] for name in ("top1", "top5") if name in result}
    written = {"predictions": config.predictions, "picture": config.picture}
    return {
        **result,
        **errors,
        "ece": calibration.compute()["ece"],
        "per_class": dict(zip(test.store.classes, result["per_class"], strict=True)),
        "images_per_second": result["images"] / seconds,
        "checkpoints": [str(path) for path in kept or [config.checkpoint]],
        "scales": list(test.scales),
        "views": config.views,
        "crop": test.crop,
        **{name: str(path) for name, path in written.items() if path is not None},
    }


@contextmanager
def _kept_predictions(config: EvaluateConfig, test: Test) -> Iterator[PredictionWriter | None]:
    """The file of predictions to be, on the first rank, where one is asked for."""
    if config.predictions is None or not test.ranks.is_first:
        yield None
        return
    with written_predictions(
        config.predictions,
        store=test.store,
        checkpoints=test.origins,
        scales=test.scales,
        views=config.views,
        views_per_image=config.crops * (1 + config.flip),
        overwrite=config.overwrite,
    ) as writer:
        yield writer

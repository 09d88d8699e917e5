"""Evaluating classifiers: the mean softmax of all views, scales and networks of each image, and how right it is.

Sources: the talk ("train and test in harmony": 32 random crops where training has scale and aspect augmentation,
several scales, intermediate checkpoints of the run). That softmax is averaged, not scores, is our choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ...pipelines.classification import test_loader
from ...pipelines.config import Crop, TestCrop
from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.loader.loader import Loader
from ..core.checkpoint import best_weights, weights_digest
from ..core.checks import check_labelled
from ..core.evaluation import Evaluation, opened_evaluation, written_files
from ..core.networks import LoadedNetwork, check_input
from ..core.process import Process
from ..core.progress import Stopwatch
from ..metrics.classification import BINS, Accuracy, Calibration, ConfusionCounts
from .config import EvaluateConfig
from .pictures import save_confusion_picture
from .predictions import PredictionWriter, written_predictions


def evaluate(config: EvaluateConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Evaluate a checkpoint, or several of a run, on a store; writes what the configuration names, else nothing.

    Returns plain JSON: the figures of Figures.compute, `images_per_second`, `checkpoints` (their files), `scales`,
    `views`, `crop`, and `predictions` and `picture` where they were written.
    Raises InputError for checkpoints, a store or classes that cannot be used, and files that cannot be written.
    """
    check_outputs(config, "predictions", "picture")
    paths = [config.checkpoint]
    if config.checkpoints is not None:
        paths = kept_checkpoints(config.checkpoint, int(config.checkpoints.removeprefix("last")))
    with opened_evaluation(config, paths, task="classification", check_store=check_labelled) as evaluation:
        process, first = evaluation.process, evaluation.networks[0].contents
        sizes, crop = list(config.scales) or [config.size or first["size"]], config.crop or first["test_crop"]
        views = {"crop": crop, "crops": config.crops, "random_flip": not config.flip}
        loaders = view_loaders(evaluation, batch_size=config.batch_size, sizes=sizes, **views)
        stopwatch, figures = Stopwatch(), Figures(evaluation.store.classes, process.device)
        with _prediction_file(config, evaluation, sizes) as writer:
            for scores in view_scores(evaluation, evaluation.batches(loaders, progress), mirrored=config.flip):
                figures.add(scores.softmax.double().mean((1, 2, 3)), scores.labels)
                if config.predictions is not None:
                    indices, softmax = (process.gathered(part).cpu() for part in (scores.indices, scores.softmax))
                    if writer is not None:
                        writer.put(indices.numpy(), softmax.numpy())
        seconds, _ = stopwatch.lap()
        figures.sum_over(process)
        if config.picture is not None and process.is_first:
            save_confusion_picture(
                config.picture, figures.confusion(), evaluation.store.classes, overwrite=config.overwrite
            )
    result = figures.compute()
    return {
        **result,
        "images_per_second": result["images"] / seconds,
        "checkpoints": [str(path) for path in paths],
        "scales": sizes,
        "views": config.views,
        "crop": crop,
        **written_files(config, "predictions", "picture"),
    }


def view_loaders(
    evaluation: Evaluation,
    *,
    batch_size: int,
    sizes: Sequence[int] = (),
    crop: TestCrop | None = None,
    crops: int = 1,
    random_flip: bool = True,
) -> list[Loader]:
    """A loader for each side of the input, () for that of the first network's training, with the same batches.

    crop: None for that of its evaluations; crops: as of test_loader; random windows are drawn as in its training.
    Raises InputError where a network does not take such images.
    """
    first = evaluation.networks[0]
    sizes = sizes or [first.contents["size"]]
    for network in evaluation.networks:
        for side in sizes:
            check_input(network.module, network.contents["model"]["name"], side, evaluation.process.device)
    options: dict[str, Any] = {
        "batch_size": -(-batch_size // crops),
        "crop": crop or first.contents["test_crop"],
        "crops": crops,
        "random_crop": trained_crop(first.contents["config"]),
        "random_flip": random_flip,
    }
    return [evaluation.loader(test_loader, size=side, **options) for side in sizes]


class Figures:
    """Accuracy, loss, calibration and confusion of averaged softmax, counted on `device` over batches of images."""

    def __init__(self, classes: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.classes = classes
        self._accuracy, self._calibration = Accuracy.empty(len(classes), device), Calibration.empty(BINS, device)
        self._confusion = ConfusionCounts.empty(len(classes), device)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Count a batch: float64 [B, K], int64 [B]."""
        self._accuracy = self._accuracy.merge(Accuracy.of_probabilities(probabilities, labels))
        self._calibration = self._calibration.merge(Calibration.of(probabilities, labels))
        self._confusion = self._confusion.merge(ConfusionCounts.of(probabilities, labels))

    def sum_over(self, process: Process) -> None:
        """Make the counts those of all ranks, on each rank."""
        for metric in (self._accuracy, self._calibration, self._confusion):
            process.sum(metric.totals)

    def compute(self) -> dict[str, Any]:
        """Plain JSON: `top1`, `top1_error`, `top5`, `top5_error` (of more than 5 classes), `loss` (mean negative log of
        the label's probability, nats), `ece` (expected calibration error), `images`, `per_class` (class name -> top-1,
        None for a class without images).
        """
        figures = self._accuracy.compute()
        errors = {f"{name}_error": 1 - figures[name] for name in ("top1", "top5") if name in figures}
        per_class = dict(zip(self.classes, figures["per_class"], strict=True))
        return {**figures, **errors, "ece": self._calibration.compute(), "per_class": per_class}

    def confusion(self) -> np.ndarray:
        """Images int64 [K, K]: true class -> predicted class."""
        return self._confusion.compute()


def kept_checkpoints(checkpoint: Path, count: int) -> list[Path]:
    """The last `count` networks that a run kept beside its checkpoint, oldest first; InputError where it has fewer."""
    kept = sorted(checkpoint.parent.glob("epoch-*.pt"))
    if len(kept) < count:
        raise InputError(
            f"{checkpoint.parent} holds {len(kept)} networks of past epochs (epoch-0010.pt, ...) and {count} are asked "
            "for; train with --keep-every, or ask for fewer"
        )
    return kept[-count:]


def trained_crop(config: dict[str, Any]) -> Crop:
    """How a run drew its windows, from its checkpoint's flattened configuration."""
    prefix = "augmentation.crop."
    return Crop(**{name[len(prefix) :]: value for name, value in config.items() if name.startswith(prefix)})


class Scores(NamedTuple):
    """The predictions for B images, perhaps none: all on the device."""

    indices: Tensor
    """int64 [B], indices in the store."""
    labels: Tensor
    """int64 [B]."""
    softmax: Tensor
    """float32 [B, networks, scales, views, K]; mirrored views come after the others."""


@torch.inference_mode()
def view_scores(
    evaluation: Evaluation, batches: Iterable[tuple[dict[str, Any], ...]], *, mirrored: bool
) -> Iterator[Scores]:
    """The softmax of every network for every view, batch by batch; each batch is given once for each scale.

    Every rank gets as many batches, so that ranks may work together on each.
    """
    device = evaluation.process.device
    for scales in batches:
        indices, labels = (scales[0][name].to(device, non_blocking=True) for name in ("index", "label"))
        images = [batch["image"].to(device, non_blocking=True) for batch in scales]
        softmax = [
            torch.stack([_softmax(evaluation, model, at_scale, mirrored) for at_scale in images], 1)
            for model in evaluation.modules
        ]
        yield Scores(indices, labels, torch.stack(softmax, 1))


def _softmax(evaluation: Evaluation, model: nn.Module, images: Tensor, mirrored: bool) -> Tensor:
    """float32 [B, views, K] of images [B, 3, S, S], or [B, V, 3, S, S]."""
    classes = len(evaluation.store.classes)
    if not len(images):
        views = (images.shape[1] if images.ndim == 5 else 1) * (1 + mirrored)
        return torch.zeros(0, views, classes, device=images.device)
    flat = images.flatten(0, -4)
    with evaluation.process.autocast():
        passes = [model(view) for view in ([flat, flat.flip(-1)] if mirrored else [flat])]
    return torch.cat([logits.float().softmax(1).view(len(images), -1, classes) for logits in passes], 1)


@torch.inference_mode()
def count_hits(model: nn.Module, batches: Iterable[dict[str, Any]], *, classes: int, process: Process) -> Accuracy:
    """The accuracy over all ranks' batches, on each rank; the model is in evaluation mode afterwards.

    batches: of a test loader; each image is in exactly one batch of one rank, which may be empty.
    """
    model.eval()
    accuracy = Accuracy.empty(classes, process.device)
    for batch in batches:
        if len(batch["index"]):
            images = batch["image"].to(process.device, non_blocking=True)
            with process.autocast():
                logits = model(images)
            accuracy = accuracy.merge(Accuracy.of(logits, batch["label"].to(process.device, non_blocking=True)))
    return Accuracy(process.sum(accuracy.totals))


def _prediction_file(
    config: EvaluateConfig, evaluation: Evaluation, sizes: Sequence[int]
) -> AbstractContextManager[PredictionWriter | None]:
    """The file of predictions to be, on the first rank, where one is asked for; else None."""
    if config.predictions is None or not evaluation.process.is_first:
        return nullcontext()
    return written_predictions(
        config.predictions,
        store=evaluation.store,
        checkpoints=[_origin(network) for network in evaluation.networks],
        scales=sizes,
        views=config.views,
        views_per_image=config.crops * (1 + config.flip),
        overwrite=config.overwrite,
    )


def _origin(network: LoadedNetwork) -> dict[str, Any]:
    """What a file of predictions says about a network: its file, weights, epoch and training images."""
    return {
        "name": network.path.name,
        "weights_digest": weights_digest(best_weights(network.contents)),
        "epoch": network.contents["standing"]["epoch"],
        "trained_on": network.contents["store"],
    }

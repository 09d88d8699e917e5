"""The mean softmax of each class's held-out images, which soft labels are made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.loader.soft_labels import save_confusion
from ..core.checks import check_labelled
from ..core.evaluation import Evaluation, opened_evaluation
from .config import ConfusionConfig
from .evaluation import view_loaders, view_scores


def confusion(config: ConfusionConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Write the mean softmax of each true class; returns plain JSON: out, images, top1, most_confused.

    most_confused: the five pairs of classes with the largest mean softmax: {"true", "predicted", "mean_softmax"}.
    Raises InputError for a checkpoint, store or classes that cannot be used, a class without images, an existing file.
    """
    check_outputs(config, "out")
    paths = [config.checkpoint]
    with opened_evaluation(config, paths, task="classification", check_store=check_labelled) as evaluation:
        store = evaluation.store
        if store.digest == evaluation.networks[0].contents["store"]:
            raise InputError(
                f"{config.checkpoint} was trained on the images of {config.store}, where it confuses too little; "
                "measure on others"
            )
        sizes = [config.size] if config.size else []
        loaders = view_loaders(evaluation, batch_size=config.batch_size, sizes=sizes, crop=config.crop)
        totals = _totals(evaluation, evaluation.batches(loaders, progress, "measuring confusion"))
        images = totals[:, -2].long()
        if not images.all():
            empty = store.classes[int((images == 0).nonzero()[0])]
            raise InputError(f"{config.store} has no image of class {empty}; measure on a store with some of each")
        mean = totals[:, :-2] / images[:, None]
        if evaluation.process.is_first:
            facts = {"store": store.digest, "checkpoint": str(config.checkpoint)}
            save_confusion(config.out, mean.numpy(), images.numpy(), store.classes, overwrite=config.overwrite, **facts)
    return {
        "out": str(config.out),
        "images": int(images.sum()),
        "top1": float(totals[:, -1].sum() / images.sum()),
        "most_confused": _most_confused(mean, store.classes),
    }


def _totals(evaluation: Evaluation, batches: Any) -> Tensor:
    """float64 [K, K + 2] over all ranks, on the CPU: for each true class sums of softmax, images, right predictions."""
    classes, process = len(evaluation.store.classes), evaluation.process
    totals = torch.zeros(classes, classes + 2, dtype=torch.float64, device=process.device)
    for scores in view_scores(evaluation, batches, mirrored=False):
        softmax = scores.softmax[:, 0, 0, 0].double()
        hits = (softmax.argmax(1) == scores.labels).double()
        totals.index_add_(0, scores.labels, torch.cat([softmax, torch.ones_like(hits)[:, None], hits[:, None]], 1))
    return process.sum(totals).cpu()


def _most_confused(mean: Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    others = mean.clone().fill_diagonal_(-1)
    values, cells = others.flatten().topk(min(5, len(classes) * (len(classes) - 1)))
    return [
        {"true": classes[cell // len(classes)], "predicted": classes[cell % len(classes)], "mean_softmax": value}
        for value, cell in zip(values.tolist(), cells.tolist(), strict=True)
    ]

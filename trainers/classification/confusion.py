"""The mean softmax of each class's held-out images, which soft labels are made from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.loader.soft_labels import save_confusion
from ..core.machine import autocast
from .evaluation_config import ConfusionConfig
from .testing import Test, opened_test


def confusion(config: ConfusionConfig, *, progress: Track = silent) -> dict[str, Any]:
    """Write the mean softmax of each true class; returns plain JSON: out, images, top1, most_confused.

    most_confused: the five pairs of classes with the largest mean softmax: {"true", "predicted", "mean_softmax"}.
    Raises InputError for a checkpoint, store or classes that cannot be used, a class without images, an existing file.
    """
    check_outputs(config, "out")
    with opened_test(config) as test:
        if test.store.digest == test.origins[0]["trained_on"]:
            raise InputError(
                f"{config.checkpoint} was trained on the images of {config.store}, where it confuses too little; "
                "measure on others"
            )
        classes = test.store.classes
        shown = progress if test.ranks.is_first else silent
        totals = _totals(test, shown(test.loaders[0], len(test.loaders[0]), "measuring confusion"))
        images = totals[:, -2].long()
        if not images.all():
            empty = classes[int((images == 0).nonzero()[0])]
            raise InputError(f"{config.store} has no image of class {empty}; measure on a store with some of each")
        mean = totals[:, :-2] / images[:, None]
        if test.ranks.is_first:
            facts = {"store": test.store.digest, "checkpoint": str(config.checkpoint)}
            save_confusion(config.out, mean.numpy(), images.numpy(), classes, overwrite=config.overwrite, **facts)
    return {
        "out": str(config.out),
        "images": int(images.sum()),
        "top1": float(totals[:, -1].sum() / images.sum()),
        "most_confused": _most_confused(mean, classes),
    }


@torch.inference_mode()
def _totals(test: Test, batches: Any) -> Tensor:
    """float64 [K, K + 2] over all ranks, on the CPU: sums of softmax for each true class, images, right at first."""
    classes = len(test.store.classes)
    totals = torch.zeros(classes, classes + 2, dtype=torch.float64, device=test.ranks.device)
    for batch in batches:
        if not len(batch["index"]):
            continue
        images, labels = (batch[name].to(test.ranks.device, non_blocking=True) for name in ("image", "label"))
        with autocast(test.ranks.device, test.precision):
            logits = test.models[0](images)
        softmax = logits.double().softmax(1)
        hits = (logits.argmax(1) == labels).double()
        totals.index_add_(0, labels, torch.cat([softmax, torch.ones_like(hits)[:, None], hits[:, None]], 1))
    return test.ranks.sum(totals).cpu()


def _most_confused(mean: Tensor, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    others = mean.clone().fill_diagonal_(-1)
    values, places = others.flatten().topk(min(5, len(classes) * (len(classes) - 1)))
    pairs = zip(values.tolist(), places.tolist(), strict=True)
    return [
        {"true": classes[place // len(classes)], "predicted": classes[place % len(classes)], "mean_softmax": value}
        for value, place in pairs
    ]

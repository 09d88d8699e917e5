"""Counting a classifier's hits over a test loader, the loader's share on each rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ..core.distributed import Ranks
from ..core.machine import autocast
from ..core.signals import Stopped
from ..metrics.classification import Accuracy


@torch.inference_mode()
def count_hits(
    model: nn.Module,
    batches: Iterable[dict[str, Any]],
    *,
    classes: int,
    ranks: Ranks,
    precision: str,
    stop: Callable[[], int] = lambda: 0,
) -> Accuracy:
    """The accuracy over all ranks' batches, on each rank; the model is in evaluation mode afterwards.

    batches: of a test loader; each image in exactly one batch of one rank, which may be empty, and as many batches on
    every rank. stop: asked after each batch, the same answer on every rank; a signal's number raises Stopped.
    """
    model.eval()
    accuracy = Accuracy.empty(classes, ranks.device)
    for batch in batches:
        if len(batch["index"]):
            images = batch["image"].to(ranks.device, non_blocking=True)
            with autocast(ranks.device, precision):
                logits = model(images)
            accuracy = accuracy.merge(Accuracy.of(logits, batch["label"].to(ranks.device, non_blocking=True)))
        if number := stop():
            raise Stopped(number)
    return Accuracy(ranks.sum(accuracy.totals))

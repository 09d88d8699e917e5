"""What networks of scene parsing say of whole images, at several scales and mirrored, at the images' original size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.store.reader import ImageStore
from ..core.distributed import Ranks
from ..core.machine import autocast
from ..core.signals import Stopped
from ..metrics.mean_iou import MeanIou

Seen = Callable[[dict[str, Any], Tensor], None]
SCORES = 2**27  # of a test batch; a few copies of them are in memory at a time


@torch.inference_mode()
def count_pixels(
    model: nn.Module,
    batches: Iterable[Sequence[dict[str, Any]]],
    *,
    classes: int,
    ranks: Ranks,
    precision: str,
    flip: bool = False,
    stop: Callable[[], int] = lambda: 0,
    seen: Seen = lambda batch, predictions: None,
) -> MeanIou:
    """The mean IoU over all ranks' batches, on each rank; the model is in evaluation mode afterwards.

    batches: of test loaders, the same images at each scale; each image in exactly one batch of one rank, which may be
    empty. stop: asked after each batch, the same answer on every rank; a signal's number raises Stopped. seen: is given
    each batch and its predictions, int64 [B, H, W] on the device.
    """
    model.eval()
    metric = MeanIou.empty(classes, ranks.device)
    for scales in batches:
        if len(scales[0]["index"]):
            masks = scales[0]["mask"].to(ranks.device, non_blocking=True)
            images = [batch["image"].to(ranks.device, non_blocking=True) for batch in scales]
            with autocast(ranks.device, precision):
                predictions = mean_softmax(model, images, masks.shape[1:], flip=flip).argmax(1)
            metric = metric.merge(MeanIou.of(predictions, masks, classes=classes))
            seen(scales[0], predictions)
        if number := stop():
            raise Stopped(number)
    return MeanIou(ranks.sum(metric.totals))


def mean_softmax(model: nn.Module, scales: Sequence[Tensor], size: Sequence[int], *, flip: bool) -> Tensor:
    """float32 [B, K, *size]: the mean over scales, and mirror images, of the softmax of scores brought to `size`.

    scales: the same images, [B, 3, h, w] of any sizes. Source: the talk (multi-scale and flip in the test); that
    softmax is averaged is our choice. It is added up in place: at 150 classes an image of 2 megapixels has 1.2 GB of
    scores.
    """
    total: Tensor | None = None
    for images in scales:
        for mirrored in (False, True)[: 1 + flip]:
            scores = model(images.flip(3) if mirrored else images)
            scores = scores.flip(3) if mirrored else scores
            if scores.shape[2:] != tuple(size):
                scores = F.interpolate(scores, tuple(size), mode="bilinear", align_corners=False)
            softmax = scores.softmax(1)
            total = softmax if total is None else total.add_(softmax)
            del scores, softmax  # before the next view's
    assert total is not None
    return total.div_(len(scales) * (1 + flip))


def whole_image_batch(store: ImageStore, batch_size: int) -> int:
    """Images of a test batch, at most `batch_size`: 1 where their sizes differ, which no tensor holds, and no more than
    have 2**27 scores (0.5 GB) at their original size.
    """
    if len(np.unique(store.sizes, axis=0)) > 1:
        return 1
    return min(batch_size, max(1, SCORES // (len(store.classes) * int(store.sizes[0].prod()))))

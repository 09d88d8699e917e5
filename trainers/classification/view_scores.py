"""What trained classifiers say of every view of every image, batch by batch, the loaders' share on each rank."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core.machine import autocast
from .testing import Test


class Scores(NamedTuple):
    """Of B images, which may be none: all on the device."""

    indices: Tensor
    """int64 [B], samples in the store."""
    labels: Tensor
    """int64 [B]."""
    softmax: Tensor
    """float32 [B, networks, scales, views, K]; with mirrored views these come after the others."""


@torch.inference_mode()
def view_scores(test: Test, batches: Iterable[tuple[dict[str, Any], ...]], *, mirrored: bool) -> Iterator[Scores]:
    """batches: one of each of the test's loaders. Every rank gets as many, so that ranks may work together on each."""
    device = test.ranks.device
    for scales in batches:
        indices, labels = (scales[0][name].to(device, non_blocking=True) for name in ("index", "label"))
        images = [batch["image"].to(device, non_blocking=True) for batch in scales]
        softmax = [torch.stack([_softmax(test, model, own, mirrored) for own in images], 1) for model in test.models]
        yield Scores(indices, labels, torch.stack(softmax, 1))


def _softmax(test: Test, model: nn.Module, images: Tensor, mirrored: bool) -> Tensor:
    """float32 [B, views, K] of images [B, 3, S, S], or [B, V, 3, S, S]."""
    classes = len(test.store.classes)
    if not len(images):
        views = (images.shape[1] if images.ndim == 5 else 1) * (1 + mirrored)
        return torch.zeros(0, views, classes, device=images.device)
    flat = images.flatten(0, -4)
    with autocast(test.ranks.device, test.precision):
        passes = [model(view) for view in ([flat, flat.flip(-1)] if mirrored else [flat])]
    return torch.cat([logits.float().softmax(1).view(len(images), -1, classes) for logits in passes], 1)

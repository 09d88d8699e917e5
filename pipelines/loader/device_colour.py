"""The colour stage on the trainer's device: what a loader with colour_on="device" leaves to be done there."""

from __future__ import annotations

import torch
from torch import Tensor

from ..plan.colour import GREY


def apply(images: Tensor, matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Colour and normalise a batch: uint8 [B, 3, H, W] and float32 [B, 3, 5] -> dtype [B, 3, H, W], on one device.

    For each image its matrix times (R, G, B, mean_grey, 1); see colour.matrices. Element by element in float32, so that
    neither autocast nor TF32 touches it.
    """
    levels = images.float()
    weights = torch.tensor(GREY, dtype=torch.float32, device=images.device)
    mean_grey = (levels.mean((2, 3)) * weights).sum(1)  # [B]
    offset = matrices[:, :, 3] * mean_grey[:, None] + matrices[:, :, 4]  # [B, 3]
    mapped = offset[:, :, None, None] + matrices[:, :, 0, None, None] * levels[:, 0:1]
    for channel in (1, 2):
        mapped.addcmul_(matrices[:, :, channel, None, None], levels[:, channel : channel + 1])
    return mapped.to(dtype)

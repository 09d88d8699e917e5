"""torchvision's transforms v2 on tensors, in DataLoader workers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import InterpolationMode, v2

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import files_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting, Lanczos and Gaussian; colours are clamped"


def stream(work: Workload) -> Stream:
    """A DataLoader's."""
    return files_stream(work, partial(load, recipe(work.size)))


def recipe(size: int) -> v2.Compose:
    """uint8 [3, H, W] -> float32 [3, size, size]. Kernels: nearest, bilinear, bicubic, all that it has for tensors."""
    kernels = (InterpolationMode.NEAREST, InterpolationMode.BILINEAR, InterpolationMode.BICUBIC)
    return v2.Compose(
        [
            v2.RandomChoice([v2.RandomResizedCrop(size, AREA, ASPECT, kernel, antialias=True) for kernel in kernels]),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(JITTER, JITTER, JITTER),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.mean.tolist(), IMAGENET.std.tolist()),
        ]
    )


def load(transform: v2.Compose, file: Path) -> torch.Tensor:
    """The image of a file, transformed."""
    return transform(decode_image(str(file), ImageReadMode.RGB, apply_exif_orientation=True))

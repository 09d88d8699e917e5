"""torchvision's transforms on Pillow images, as its first version did them, in DataLoader workers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import files_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting; colours are clamped"


def stream(work: Workload) -> Stream:
    """Kernels: nearest, bilinear, bicubic, Lanczos, box."""
    return files_stream(work, partial(_load, transforms(work)))


def _load(transform: v2.Compose, file: Path) -> torch.Tensor:
    with Image.open(file) as image:
        return transform(image.convert("RGB"))


def transforms(work: Workload) -> v2.Compose:
    """Pillow image -> float32 [3, size, size]."""
    kernels = (
        InterpolationMode.NEAREST,
        InterpolationMode.BILINEAR,
        InterpolationMode.BICUBIC,
        InterpolationMode.LANCZOS,
        InterpolationMode.BOX,
    )
    return v2.Compose(
        [
            v2.RandomChoice([v2.RandomResizedCrop(work.size, AREA, ASPECT, kernel) for kernel in kernels]),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(JITTER, JITTER, JITTER),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.mean.tolist(), IMAGENET.std.tolist()),
        ]
    )

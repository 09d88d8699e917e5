"""Albumentations (its last MIT release) on OpenCV images, in DataLoader workers."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network at import

import albumentations as A
import cv2
import torch

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import files_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting, antialiasing; colours are clamped"


def stream(work: Workload) -> Stream:
    """Kernels: nearest, linear, cubic, Lanczos, area."""
    cv2.setNumThreads(0)  # the workers are the threads
    kernels = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_AREA)
    size, jitter = (work.size, work.size), (1 - JITTER, 1 + JITTER)
    crops = [A.RandomResizedCrop(size=size, scale=AREA, ratio=ASPECT, interpolation=kernel) for kernel in kernels]
    transform = A.Compose(
        [
            A.OneOf(crops, p=1),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter(jitter, jitter, jitter, (0, 0), p=1),
            A.Normalize(tuple(IMAGENET.mean.tolist()), tuple(IMAGENET.std.tolist())),
            A.ToTensorV2(),
        ]
    )

    return files_stream(work, partial(_load, transform))


def _load(transform: A.Compose, file: Path) -> torch.Tensor:
    return transform(image=cv2.imread(str(file), cv2.IMREAD_COLOR_RGB))["image"]

"""FFCV's loader on JPEG records, in its compiled threads.

Its file holds the photographs at full size as JPEGs of quality 90, its default, encoded anew because it takes
pixels only.
"""

from __future__ import annotations

import os

os.environ.setdefault("TQDM_DISABLE", "1")  # its writer shows a bar of its own

import numpy as np
from ffcv.fields import IntField, RGBImageField
from ffcv.fields.decoders import RandomResizedCropRGBImageDecoder
from ffcv.loader import Loader, OrderOption
from ffcv.transforms import (
    NormalizeImage,
    RandomBrightness,
    RandomContrast,
    RandomHorizontalFlip,
    RandomSaturation,
    ToTensor,
    ToTorchImage,
)
from ffcv.writer import DatasetWriter
from PIL import Image

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import batches_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting, kernels but area; colours are clamped; records are encoded anew"


def stream(work: Workload) -> Stream:
    """Records as JPEGs."""
    return ffcv_stream(work, "jpg")


def ffcv_stream(work: Workload, write_mode: str) -> Stream:
    """`write_mode`: "jpg" or "raw"."""
    file = work.scratch / f"{write_mode}.beton"
    fields = {"image": RGBImageField(write_mode=write_mode), "label": IntField()}
    DatasetWriter(str(file), fields, num_workers=1).from_indexed_dataset(_Pixels(work))
    loader = Loader(
        str(file),
        batch_size=work.batch_size,
        num_workers=work.threads,
        order=OrderOption.RANDOM,
        os_cache=True,
        drop_last=True,
        pipelines={
            "image": [
                RandomResizedCropRGBImageDecoder((work.size, work.size), AREA, ASPECT),
                RandomHorizontalFlip(),
                RandomBrightness(JITTER, p=1),
                RandomContrast(JITTER, p=1),
                RandomSaturation(JITTER, p=1),
                NormalizeImage(255 * IMAGENET.mean, 255 * IMAGENET.std, np.float32),
                ToTensor(),
                ToTorchImage(),
            ],
        },
    )
    return batches_stream(work, loader)


class _Pixels:
    """The files as FFCV's writer wants them: (uint8 [H, W, 3], label) by index."""

    def __init__(self, work: Workload) -> None:
        self._files = work.files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        with Image.open(self._files[index]) as image:
            return np.asarray(image.convert("RGB")), 0

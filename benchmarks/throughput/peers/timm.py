"""timm's own transform (Pillow) and loader, as its train script makes them."""

from __future__ import annotations

import torch
from PIL import Image
from timm.data import create_loader
from torch.utils.data import Dataset

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import batches_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting, kernels but bilinear and bicubic; colours are clamped"


def stream(work: Workload) -> Stream:
    """With its prefetcher on a GPU, which normalises there."""
    loader = create_loader(
        _Images(work),  # type: ignore[arg-type]  # it sets `transform` on any dataset
        input_size=(3, work.size, work.size),
        batch_size=work.batch_size,
        is_training=True,
        use_prefetcher=work.cuda is not None,
        scale=AREA,
        ratio=ASPECT,
        hflip=0.5,
        color_jitter=JITTER,
        interpolation="random",
        mean=tuple(IMAGENET.mean.tolist()),
        std=tuple(IMAGENET.std.tolist()),
        num_workers=work.threads,
        device=torch.device(work.device),
    )
    return batches_stream(work, loader)


class _Images(Dataset):
    """The files, opened as timm's own dataset opens them."""

    transform = None

    def __init__(self, work: Workload) -> None:
        self._files = work.files

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[object, int]:
        image = Image.open(self._files[index]).convert("RGB")
        return (image if self.transform is None else self.transform(image)), 0

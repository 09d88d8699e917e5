"""SPDL: threads that decode, crop and scale with FFmpeg, then torchvision's transforms v2 on tensors."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import spdl.io
import torch
from spdl.pipeline import PipelineBuilder
from torchvision.transforms import RandomResizedCrop, v2

from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..torch_data import batches_stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting, Gaussian; colours are clamped"


def stream(work: Workload) -> Stream:
    """Kernels: nearest, bilinear, bicubic, Lanczos, area."""
    torch.set_num_threads(1)  # the pipeline's own threads are the parallelism
    kernels = ("neighbor", "bilinear", "bicubic", "lanczos", "area")
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(JITTER, JITTER, JITTER),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET.mean.tolist(), IMAGENET.std.tolist()),
        ]
    )

    def load(file: Path) -> torch.Tensor:
        packets = spdl.io.demux_image(str(file))
        height, width = packets.height, packets.width
        top, left, rows, columns = RandomResizedCrop.get_params(torch.empty(0, height, width), list(AREA), list(ASPECT))
        crop = f"crop={columns}:{rows}:{left}:{top}:exact=1"
        scale = f"scale={work.size}:{work.size}:flags={random.choice(kernels)}"
        frames = spdl.io.decode_packets(packets, filter_desc=f"{crop},{scale},format=pix_fmts=rgb24")
        pixels = spdl.io.to_torch(spdl.io.convert_frames(frames))  # uint8 HWC
        return transform(pixels.permute(2, 0, 1).contiguous())

    spdl.io.demux_image(str(work.files[0]))  # without FFmpeg it says so here; in the pipeline, only a log would
    pipeline = (
        PipelineBuilder()
        .add_source(_Shuffled(work.files), continuous=True)
        .pipe(load, concurrency=work.threads)
        .aggregate(work.batch_size, drop_last=True)
        .pipe(lambda images: (torch.stack(images),))
        .add_sink(2)
        .build(num_threads=work.threads)
    )
    pipeline.start()
    return batches_stream(work, pipeline)


class _Shuffled:
    """The files in another order at each pass."""

    def __init__(self, files: tuple[Path, ...]) -> None:
        self._files = files

    def __iter__(self) -> Iterator[Path]:
        return iter(random.sample(self._files, len(self._files)))

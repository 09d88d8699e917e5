"""DALI's own operators, as its examples use them: file reader, random crop decoder, resize, colour twist, normalise."""

from __future__ import annotations

from collections.abc import Iterator

import nvidia.dali.fn as fn
import torch
from nvidia.dali import Pipeline
from nvidia.dali.types import Constant, DALIDataType, DALIImageType

from ....pipelines.graph.nodes import INTERP_CODES
from ....pipelines.io.dali import Node
from ....pipelines.store.statistics import IMAGENET
from ..peer_process import Stream
from ..workload import AREA, ASPECT, JITTER, Workload

LACKS = "heatmap-guided windows, PCA lighting; contrast is around mid-grey, colours are clamped"


def stream(work: Workload) -> Stream:
    """The same number of whole batches as the loader serves, one epoch a pass."""
    pipeline = Pipeline(batch_size=work.batch_size, num_threads=work.threads, device_id=work.cuda, seed=0)
    with pipeline:
        encoded, label = fn.readers.file(files=[str(file) for file in work.files], random_shuffle=True, name="files")
        pipeline.set_outputs(_images(encoded, work.size, "cpu" if work.cuda is None else "gpu"), label)
    pipeline.build()
    batches = len(work.files) // work.batch_size

    def one_pass() -> Iterator[int]:
        for _ in range(batches):
            images, _ = pipeline.run()
            yield len(torch.from_dlpack(images.as_tensor()))

    return one_pass


def _images(encoded: Node, size: int, device: str) -> Node:
    windows = fn.decoders.image_random_crop(
        encoded,
        device="mixed" if device == "gpu" else "cpu",
        output_type=DALIImageType.RGB,
        random_area=list(AREA),
        random_aspect_ratio=list(ASPECT),
        num_attempts=10,
    )
    codes: Node = Constant(INTERP_CODES, device="cpu")
    drawn = fn.random.choice(fn.cast(codes, dtype=DALIDataType.INT32))
    kernels = fn.reinterpret(drawn, dtype=DALIDataType.INTERP_TYPE)
    resized: Node = fn.resize(windows, size=[size, size], interp_type=kernels)
    brightness, contrast, saturation = (fn.random.uniform(range=(1 - JITTER, 1 + JITTER)) for _ in range(3))
    twisted: Node = fn.color_twist(resized, brightness=brightness, contrast=contrast, saturation=saturation)
    return fn.crop_mirror_normalize(
        twisted,
        mirror=fn.random.coin_flip(),
        dtype=DALIDataType.FLOAT,
        output_layout="CHW",
        mean=(255 * IMAGENET.mean).tolist(),
        std=(255 * IMAGENET.std).tolist(),
    )

"""WebDataset: tar shards read in order, shuffled in a buffer, with torchvision's transforms on Pillow images."""

from __future__ import annotations

import webdataset as wds

from ..peer_process import Stream
from ..torch_data import batches_stream
from ..workload import Workload
from .torchvision_pil import transforms

LACKS = "heatmap-guided windows, PCA lighting, a full shuffle; colours are clamped"


def stream(work: Workload) -> Stream:
    """One shard a worker, at least."""
    workers = max(work.threads, 1)
    for shard in range(workers):
        with wds.TarWriter(str(work.scratch / f"shard-{shard:03}.tar")) as writer:
            for index in range(shard, len(work.files), workers):
                file = work.files[index]
                writer.write({"__key__": f"{index:09}", file.suffix[1:].lower(): file.read_bytes(), "cls": 0})
    dataset = (
        wds.WebDataset(str(work.scratch / f"shard-{{000..{workers - 1:03}}}.tar"), shardshuffle=workers)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg;jpeg;png;webp;bmp;tif;tiff", "cls")
        .map_tuple(transforms(work), int)
        .batched(work.batch_size, partial=True)
    )
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, persistent_workers=True)
    return batches_stream(work, loader)

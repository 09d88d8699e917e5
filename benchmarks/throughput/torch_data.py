"""What the peers around `torch.utils.data.DataLoader` share: the files as a dataset, and passes over a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .peer_process import Stream
from .workload import Workload


class Files(Dataset):
    """Path -> image, by `load`, with a label."""

    def __init__(self, files: Sequence[Path], load: Callable[[Path], Any]) -> None:
        self._files, self._load = files, load

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self._load(self._files[index]), 0


def files_stream(work: Workload, load: Callable[[Path], Any]) -> Stream:
    """The files in random order, as many worker processes as the others have threads."""
    loader = DataLoader(
        Files(work.files, load),
        work.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=work.threads,
        persistent_workers=True,
        pin_memory=work.cuda is not None,
    )
    return batches_stream(work, loader)


def batches_stream(work: Workload, batches: Iterable[Any]) -> Stream:
    """Batches of (images, ...), brought to the device."""
    shape = (3, work.size, work.size)

    def one_pass() -> Iterator[int]:
        for images, *_ in batches:
            images = images.to(work.device, non_blocking=True)
            assert images.dtype == torch.float32 and images.shape[1:] == shape, f"{images.dtype} {images.shape}"
            yield len(images)
        if work.cuda is not None:
            torch.cuda.synchronize()

    return one_pass

"""One process or many: `torchrun` starts the ranks, this module joins them and says which one this is.

Without torchrun every function does its one-process part, so that nothing else asks how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...pipelines.errors import InputError
from ...pipelines.io.device import cuda_ordinal

_groups = count()


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among all: `rank` of `world_size`, `local_world_size` of them on this machine, and its device."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """The rank that logs and saves."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on each of them; `values`, which must lie on the device, holds it afterwards."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def total(self, number: float) -> float:
        """The sum over all ranks of a number of each."""
        if self.world_size == 1:
            return number
        return self.sum(torch.tensor(number, dtype=torch.float64, device=self.device)).item()

    def gathered(self, rows: Tensor) -> Tensor:
        """All ranks' rows [B, ...] one after another, on each of them; B may differ, the rest of the shape not."""
        if self.world_size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.world_size)]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        most = max(int(count) for count in counts)
        padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
        parts = [torch.empty_like(padded) for _ in counts]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(count)] for part, count in zip(parts, counts, strict=True)])

    def barrier(self) -> None:
        """Wait until every rank is here."""
        self.total(0)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model whose gradients are averaged over the ranks; its buffers are rank 0's before each forward pass."""
        if self.world_size == 1:
            return model
        ids = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank rank 0's buffers: each has seen other batches, so its running statistics differ."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, src=0)


@contextmanager
def process_group(device: str = "auto") -> Iterator[Ranks]:
    """Join torchrun's ranks (gloo on CPUs, NCCL on GPUs), and leave them however the block ends.

    device: "auto" (a GPU where there is one), "cpu", "cuda", or "cuda:1" outside torchrun, under which each rank takes
    the GPU of its local rank. A group that the caller has initialised is used and left alone.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    here = resolve_device(device, int(os.environ.get("LOCAL_RANK", "0")), world_size)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    if world_size == 1 and not dist.is_initialized():
        yield Ranks(device=here)
        return
    joined = not dist.is_initialized()
    if joined:
        _join("nccl" if here.type == "cuda" else "gloo")
    try:
        local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield Ranks(device=here, rank=dist.get_rank(), world_size=dist.get_world_size(), local_world_size=local)
    finally:
        if joined:
            dist.destroy_process_group()


def _join(backend: str) -> None:
    """Initialise the group under keys of its own.

    All groups of a torchrun job share one store, and torch numbers the keys anew after each destroy_process_group: a
    second group, such as an evaluation after a training, would read the addresses of the first and hang.
    """
    store, rank, world_size = _rendezvous()
    store = dist.PrefixStore(f"sdali/{next(_groups)}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)


@cache
def _rendezvous() -> tuple[dist.Store, int, int]:
    """The job's store, this rank and the number of ranks; once a process, for the store may be served by it."""
    return next(iter(dist.rendezvous("env://")))


def resolve_device(device: str, local_rank: int = 0, world_size: int = 1) -> torch.device:
    """The device of this rank; raises InputError for one that does not exist."""
    if device.startswith("cuda:") and world_size > 1:
        raise InputError(f"device {device} would be every rank's: under torchrun give cuda, each rank takes its own")
    ordinal = cuda_ordinal(device, local_rank)
    return torch.device("cpu") if ordinal is None else torch.device("cuda", ordinal)

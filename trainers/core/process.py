"""This process: its rank among those that torchrun started, its device, threads and precision.

Without torchrun there is one process, and every method does what that needs, so nothing else asks how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...pipelines.errors import InputError
from ...pipelines.io.device import cuda_ordinal
from ...pipelines.store.statistics import Statistics
from .config import Precision

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is what 64-bit ARM calls it

_groups = count()


@dataclass(frozen=True, kw_only=True)
class Process:
    """This process: `rank` of `world_size`, its device, the CPU threads that it may use, and float32 or bfloat16."""

    device: torch.device
    rank: int = 0
    world_size: int = 1
    threads: int = 1
    precision: str = "float32"

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that logs and saves."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks, on each of them; `values`, which must lie on the device, holds it afterwards."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def total(self, number: float) -> float:
        """The sum over all ranks of a number that each of them has."""
        if self.world_size == 1:
            return number
        return self.sum(torch.tensor(number, dtype=torch.float64, device=self.device)).item()

    def gathered(self, rows: Tensor) -> Tensor:
        """All ranks' rows [B, ...] one after another, on each of them; B may differ, the rest of the shape must not."""
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

    def autocast(self) -> torch.autocast:
        """A context for the forward pass: bfloat16 where that was resolved, else nothing. No loss scaling is needed."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16")

    def loading(self, statistics: Statistics) -> dict[str, Any]:
        """The options that give any loader this rank's share of the images, on this device."""
        return {
            "statistics": statistics,
            "device": str(self.device),
            "threads": self.threads,
            "rank": self.rank,
            "world_size": self.world_size,
            "pin_memory": self.device.type == "cuda",
        }


@contextmanager
def joined_process(
    device: str = "auto",
    threads: int | None = None,
    *,
    precision: Precision = "float32",
    deterministic: bool = False,
) -> Iterator[Process]:
    """Join torchrun's ranks (gloo on CPUs, NCCL on GPUs) and set torch up; undo both however the block ends.

    device: "auto" (a GPU where there is one), "cpu", "cuda", or "cuda:1" outside torchrun, under which each rank takes
    the GPU of its local rank. threads: of each rank; None: its share of the cores. A group that the caller has
    initialised is used and left alone. Raises InputError for a device that does not exist.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    here = resolve_device(device, int(os.environ.get("LOCAL_RANK", "0")), world_size)
    if here.type == "cuda":
        torch.cuda.set_device(here)
    joins = world_size > 1 and not dist.is_initialized()
    if joins:
        _join("nccl" if here.type == "cuda" else "gloo")
    try:
        rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        threads = threads_per_rank(threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        with torch_settings(device=here, threads=threads, deterministic=deterministic):
            precision = resolve_precision(precision, here)
            yield Process(device=here, rank=rank, world_size=world_size, threads=threads, precision=precision)
    finally:
        if joins:
            dist.destroy_process_group()


def _join(backend: str) -> None:
    """Initialise the group under keys that no other group has.

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
    if device == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if device.startswith("cuda:") and world_size > 1:
        raise InputError(f"device {device} would be every rank's: under torchrun give cuda, each rank takes its own")
    ordinal = cuda_ordinal(f"cuda:{local_rank}" if device in ("auto", "cuda") else device)
    return torch.device("cpu") if ordinal is None else torch.device("cuda", ordinal)


def threads_per_rank(threads: int | None, local_world_size: int) -> int:
    """`threads`, or this rank's share of the cores that the process may use."""
    return threads or max(len(os.sched_getaffinity(0)) // local_world_size, 1)


@contextmanager
def torch_settings(*, device: torch.device, threads: int, deterministic: bool = False) -> Iterator[None]:
    """Set threads and determinism and fork the random state; afterwards the caller's settings are back."""
    cudnn = torch.backends.cudnn
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), cudnn.benchmark
    if deterministic:  # cuBLAS reads this once, when it is first used
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic or before[1])
        cudnn.benchmark = not deterministic
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        cudnn.benchmark = before[2]


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """`auto` is bfloat16 where the device has arithmetic for it: such GPUs, and CPUs with AVX512-BF16, AMX or ARM's.

    Elsewhere torch would emulate it, slower than float32.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capable = bool(_BFLOAT16_FLAGS & cpu_flags())
    return "bfloat16" if capable else "float32"


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction sets as Linux names them in /proc/cpuinfo: torch.cpu offers the same only by private names or since
    2.10. Empty where the file is missing.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    listed = [line.partition(":") for line in lines]
    return frozenset(
        flag for name, _, flags in listed if name.strip() in ("flags", "Features") for flag in flags.split()
    )

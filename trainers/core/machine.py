"""What the machine is good for, and how torch is set while a run lasts: bfloat16, threads, determinism."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is what 64-bit ARM calls it


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


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """A context for the forward pass: bfloat16 where that was resolved, else nothing. No loss scaling is needed."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def threads_per_rank(threads: int | None, local_world_size: int) -> int:
    """What was asked for, else this rank's share of the cores that the process may use."""
    return threads or max(len(os.sched_getaffinity(0)) // local_world_size, 1)


@contextmanager
def torch_settings(*, device: torch.device, threads: int, deterministic: bool = False) -> Iterator[None]:
    """Set threads and determinism and fork the random state; afterwards the caller's own are back."""
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

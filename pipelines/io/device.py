"""Which device a user means: the one reader of `device` for loaders, trainers and benchmarks."""

from __future__ import annotations

import torch

from ..errors import InputError


def cuda_ordinal(device: str | torch.device, local_rank: int | None = None) -> int | None:
    """The number of the GPU, or None for the CPU.

    device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N"; "cpu:N" is the CPU, too, as frameworks name it
    for each of several ranks. Without a number the GPU is that of `local_rank`, or, where that is None, torch's current
    one. Raises InputError for another name, and for a GPU that
    is not there.
    """
    device = str(device)
    name, _, number = device.partition(":")
    if device != "auto" and (name not in ("cpu", "cuda") or not (number or "0").isdigit()):
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}")
    if name == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return None
    if number:
        ordinal = int(number)
    elif local_rank is not None:
        ordinal = local_rank
    else:
        ordinal = torch.cuda.current_device() if torch.cuda.is_available() else 0
    visible = torch.cuda.device_count()
    if ordinal >= visible:
        raise InputError(
            f"there is no device cuda:{ordinal}: {visible} CUDA devices are visible; use cpu or fewer ranks"
        )
    return ordinal

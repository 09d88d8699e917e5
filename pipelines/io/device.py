"""Which device a user means."""

from __future__ import annotations

import torch

from ..errors import InputError


def cuda_ordinal(device: str | torch.device) -> int | None:
    """The GPU's number, None for the CPU; device: "auto" (the GPU where there is one), "cpu" or "cuda:0".

    Raises InputError for another name, and for a GPU that is not there.
    """
    device = str(device)
    if device == "auto":
        return torch.cuda.current_device() if torch.cuda.is_available() else None
    if device == "cpu":
        return None
    name, _, number = device.partition(":")
    if name != "cuda" or not (number or "0").isdigit():
        raise InputError(f"device must be auto, cpu or cuda:N, got {device!r}")
    ordinal = int(number or 0)
    if ordinal >= torch.cuda.device_count():
        raise InputError(f"there is no device {device}: {torch.cuda.device_count()} CUDA devices are visible; use cpu")
    return ordinal

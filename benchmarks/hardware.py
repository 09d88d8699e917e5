"""What a figure depends on: processor, cores, memory, GPU, operating system, versions of every library involved."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

_PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "numba", "lmdb", "opencv-python-headless", "pillow",
    "nvidia-dali-cuda130", "nvidia-dali-cuda120", "albumentations", "ffcv", "webdataset", "spdl",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The machine and the versions of what is installed, JSON-able."""
    import torch

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())

"""Thin PyTorch trainers on the loaders of `sdali.pipelines`.

    from sdali.trainers import classification, load_network

    classification.train(classification.TrainConfig(store=..., val_store=..., out=...))
    network = load_network("run/best.pt")  # of any task: .module, .classes, .statistics, .size

Each task has `train`, `evaluate`, `TrainConfig` and `EvaluateConfig`. Light to import: each loads when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if not __name__.startswith("sdali."):
    raise ImportError(f"import sdali.{__name__} instead of {__name__}: a bare import duplicates every class")

if TYPE_CHECKING:
    from . import classification, detection, localization, parsing
    from .core.networks import LoadedNetwork, load_network

__all__ = ["LoadedNetwork", "classification", "detection", "load_network", "localization", "parsing"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("LoadedNetwork", "load_network"):
        return getattr(importlib.import_module(".core.networks", __name__), name)
    return importlib.import_module(f".{name}", __name__)

"""Resuming a run from its last checkpoint: what must be the same, what may differ, and how its state is put back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from .checkpoint import load
from .checks import class_difference
from .config import TrainingConfig, flattened
from .log import SKIPPED
from .networks import load_weights
from .optimizer import load_optimizer

FREE = {"store", "val_store", "out", "heatmaps", "soft_labels", "resume", "device", "threads"}
"""Options that change without a word when a run is resumed: where files lie, and what only costs time."""


def saved_run(config: TrainingConfig, task: str) -> dict[str, Any] | None:
    """The contents of out/last.pt where the run is to be resumed; None where it begins.

    Raises InputError where the folder holds files of a run that is not to be resumed, so that nothing is lost, and
    where last.pt is of another task or is not a checkpoint to resume from.
    """
    path, files = config.out / "last.pt", run_files(config.out)
    if files and not config.resume:
        raise InputError(
            f"{files[0]} exists already; pass resume=True to go on with it, or give another folder to start anew"
        )
    if path not in files:
        return None
    contents = load(path, task)
    if missing := [name for name in ("optimizer", "loader") if not isinstance(contents.get(name), dict)]:
        raise InputError(f"{path} lacks the state of the {missing[0]}, as best.pt does; give another folder")
    return contents


def run_files(out: Path) -> list[Path]:
    """The files of a run that lie in a folder, last.pt first; none where the folder does not exist."""
    names = ["last.pt", "best.pt", "log.jsonl", SKIPPED, *sorted(path.name for path in out.glob("epoch-*.pt"))]
    return [out / name for name in names if os.path.lexists(out / name)]


def check_resumable(saved: dict[str, Any], config: TrainingConfig, store: ImageStore) -> None:
    """Raise InputError, with both values, where the checkpoint's run is another one than `config` describes."""
    path = config.out / "last.pt"
    if difference := class_difference(store.classes, saved["classes"]):
        raise InputError(f"{store.path} does not have the classes of {path}: {difference}; give the store of that run")
    now = {"store digest": store.digest[:12], **config.identity}
    was = {"store digest": saved["store"][:12], **saved["identity"]}
    for name, value in now.items():
        if (old := was.get(name)) != value:
            raise InputError(f"{path} has {name} {old}, and {value} is asked for; give the same, or another folder")


def changes(saved: dict[str, Any], config: TrainingConfig) -> list[str]:
    """Options that differ and may, as `name before -> now`: worth a line to the user."""
    now = flattened(config)
    return [f"{name} {old} -> {now.get(name)}" for name, old in saved["config"].items()
            if name not in FREE and old != now.get(name)]  # fmt: skip


def restore(
    saved: dict[str, Any], path: Path, model: nn.Module, ema: ModelEmaV3 | None, optimizer: Optimizer, loader: Loader
) -> None:
    """Put back the weights, their average, the state of the optimizer, and the loader's position."""
    load_weights(model, saved["state_dict"], path)
    if ema is not None:
        load_weights(ema.module, saved["ema"], path)
    load_optimizer(optimizer, saved["optimizer"])
    loader.load_state_dict(saved["loader"])

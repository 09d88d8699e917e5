"""Going on from a checkpoint: what must be the same, what may differ, and how the run is put back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from timm.utils.model_ema import ModelEmaV3
from torch import nn
from torch.optim import Optimizer

from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from .checkpoint import load, load_weights
from .classes import class_difference
from .config import TrainingConfig
from .skipped import NAME as SKIPPED
from .standing import Standing

FREE = {"store", "val_store", "out", "heatmaps", "soft_labels", "resume", "device", "threads"}  # places, and how fast


def earlier(config: TrainingConfig, task: str) -> dict[str, Any] | None:
    """The contents of out/last.pt, of a run of this task, where it shall be resumed and there is one.

    Raises InputError where there is one, or anything else that a run leaves, and it shall not be resumed, so that
    nothing is lost.
    """
    path, left = config.out / "last.pt", left_by_a_run(config.out)
    if left and not config.resume:
        raise InputError(f"{left[0]} exists already; pass --resume to go on with it, or another --out to start anew")
    if special := [each for each in left if each.is_symlink() or not each.is_file()]:
        raise InputError(f"{special[0]} is no regular file, as a run's are; remove it, or give another --out")
    return load(path, task) if path in left else None


def left_by_a_run(out: Path) -> list[Path]:
    """What lies in a folder under the names of a run's files, last.pt first; a folder that is not there has nothing."""
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
            raise InputError(f"{path} has {name} {old}, and {value} is asked for; give the same, or another --out")


def changes(saved: dict[str, Any], config: TrainingConfig) -> list[str]:
    """What else differs, as `name before -> now`: allowed, but worth a line."""
    now = plain(config)
    return [f"{name} {old} -> {now.get(name)}" for name, old in saved["config"].items()
            if name not in FREE and old != now.get(name)]  # fmt: skip


def restore(
    saved: dict[str, Any],
    config: TrainingConfig,
    *,
    model: nn.Module,
    ema: ModelEmaV3 | None,
    optimizer: Optimizer,
    loader: Loader,
) -> None:
    """Put weights, average, momenta and the loader's place back."""
    path = config.out / "last.pt"
    load_weights(model, saved["state_dict"], path)
    if ema is not None:
        load_weights(ema.module, saved["ema"], path)
    try:
        load_optimizer(optimizer, saved["optimizer"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} does not hold the optimizer's state ({error!r}); give another --out") from None
    if not isinstance(saved.get("loader"), dict):
        raise InputError(f"{path} does not hold the loader's place; give another --out")
    loader.load_state_dict(saved["loader"])


def load_optimizer(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Momenta as saved, options as configured now; but the learning rate, which each step sets, is the last step's."""
    pairs = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    groups = [{**now, "lr": before["lr"]} for now, before in pairs]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})


def standing(saved: dict[str, Any], loader: Loader, images_a_step: int) -> Standing:
    """Where the restored run stands: the step is that of the loader's place, whatever a step was before."""
    place = loader.state_dict()
    step = place["epoch"] * len(loader) + place["position"] // images_a_step
    return Standing(**{**saved["standing"], "step": step})


def plain(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field as `name` or `outer.name`: numbers, strings, None, tuples of them; paths become strings."""
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            values |= plain(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = str(value) if isinstance(value, Path) else value
    return values

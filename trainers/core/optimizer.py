"""The optimizer, its state after a resumption, and the learning rate: a pure function of the step, never stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from .config import Schedule, TrainingConfig

POWER = 0.9
MILESTONES = (2 / 3, 8 / 9)  # shares of the run


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int, schedule: Schedule = "cosine") -> float:
    """The learning rate of a step, counted from 0, of a run of `steps` steps.

    It rises linearly over the first `warmup_steps`: step 0 gets peak / warmup_steps, step warmup_steps - 1 and the one
    after it get `peak`. Then it falls towards 0 at `steps`, along half a cosine (`cosine`) or as (1 - share done) **
    0.9 (`poly`), or to a tenth at each of the MILESTONES of the run (`step`).
    Sources: Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine without restarts), DeepLab, Chen et al.
    2016 (poly), Detectron (steps at 2/3 and 8/9).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "step":
        return peak * 0.1 ** sum(step >= round(share * steps) for share in MILESTONES)
    done = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    if schedule == "poly":
        return peak * (1 - done) ** POWER
    return peak * (1 + math.cos(math.pi * done)) / 2


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimizer of a configuration, with weight decay on weights only, not on norms and biases."""
    undecayed = getattr(model, "no_weight_decay", tuple)()
    # The groups are made with a decay of 1 and scaled: with a decay of 0 timm would order the weights otherwise, and
    # the momenta of a checkpoint would meet the wrong ones.
    groups = param_groups_weight_decay(model, 1.0, no_weight_decay_list=undecayed)
    for group in groups:
        group["weight_decay"] *= config.resolved_weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0)


def load_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Take the momenta as saved, and the options as configured now, but for the last step's learning rate."""
    pairs = zip(optimizer.state_dict()["param_groups"], saved["param_groups"], strict=True)
    groups = [{**now, "lr": before["lr"]} for now, before in pairs]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})

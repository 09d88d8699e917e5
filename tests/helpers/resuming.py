"""Runs interrupted at a step, and whether two runs ended in the same state."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from sdali.trainers.core import checkpoint, loop

STATE = ("state_dict", "ema", "optimizer", "loader")


def difference(a: Any, b: Any, where: str = "") -> str:
    """The first place where two nested values differ in a bit, empty where none does."""
    if isinstance(a, torch.Tensor):
        return "" if torch.equal(a, b) and a.dtype == b.dtype else where
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{where} keys"
        return next((found for key in a if (found := difference(a[key], b[key], f"{where}/{key}"))), "")
    if isinstance(a, list | tuple):
        pairs = enumerate(zip(a, b, strict=True))
        return next((found for i, (x, y) in pairs if (found := difference(x, y, f"{where}/{i}"))), "")
    return "" if a == b else where


def state_difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    """Of two checkpoints' weights, averages, momenta and places; what they cost and where they lie may differ."""
    return difference({name: a[name] for name in STATE}, {name: b[name] for name in STATE})


def at_step(number: int, act: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Call `act` within a step, counted from 1."""
    original = loop.seed_step

    def seed_step(seed: int, step: int, rank: int) -> None:
        original(seed, step, rank)
        if step + 1 == number:
            act()

    patch.setattr(loop, "seed_step", seed_step)


def whole_and_resumed(
    train: Callable[[Any], Any], whole: Any, stopped: Any, step: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The last checkpoints of a run undisturbed, and of one that SIGTERM stops after `step` and that then goes on."""
    train(whole)
    with monkeypatch.context() as patch:
        at_step(step, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        with pytest.raises(SystemExit):
            train(stopped)
    assert checkpoint.load(stopped.out / "last.pt")["standing"]["step"] == step
    train(dataclasses.replace(stopped, resume=True))
    return checkpoint.load(whole.out / "last.pt"), checkpoint.load(stopped.out / "last.pt")

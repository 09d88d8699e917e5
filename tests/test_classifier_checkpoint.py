"""Classifiers out of checkpoints: the same scores again, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from training import TinyNet

from sdali.pipelines.errors import InputError
from sdali.trainers import checkpoint
from sdali.trainers.classifier_checkpoint import check_input, load_classifier

CPU = torch.device("cpu")


def contents(model: torch.nn.Module, ema: torch.nn.Module | None = None) -> dict[str, Any]:
    return {
        "task": "classification",
        "model": {"name": "tiny_dropout_net", "args": {}},
        "classes": ["a", "b", "c"],
        "state_dict": model.state_dict(),
        "ema": ema.state_dict() if ema else None,
    }


@pytest.mark.parametrize("averaged", [False, True])
def test_scores_are_those_of_the_saved_network(tmp_path: Path, averaged: bool) -> None:
    """In evaluation mode, with the averaged weights where there are any."""
    path, model, ema, image = tmp_path / "c.pt", TinyNet(3), TinyNet(3), torch.randn(2, 3, 32, 32)
    checkpoint.save(path, contents(model, ema if averaged else None))
    loaded, saved = load_classifier(path, "cpu")
    assert not loaded.training
    assert saved["classes"] == ["a", "b", "c"]
    with torch.no_grad():
        assert torch.equal(loaded(image), (ema if averaged else model).eval()(image))


def test_other_tasks_and_other_networks_are_refused(tmp_path: Path) -> None:
    """Another task's checkpoint, and weights that this version of the network has no place for."""
    path = tmp_path / "c.pt"
    checkpoint.save(path, {**contents(TinyNet(3)), "task": "parsing"})
    with pytest.raises(InputError, match=r"c\.pt is a checkpoint of parsing, not of a classifier"):
        load_classifier(path, "cpu")
    checkpoint.save(path, contents(TinyNet(4)))
    with pytest.raises(InputError, match=r"the weights in .*c\.pt do not fit the network"):
        load_classifier(path, "cpu")


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 96), ("inception_v3", 32)])
def test_sizes_that_a_network_cannot_take(name: str, size: int) -> None:
    """A fixed size, or too small a one: refused in one line before anything is trained."""
    with pytest.raises(
        InputError, match=f"{name} does not take {size} x {size} pixels .*; give another size"
    ) as caught:
        check_input(timm.create_model(name, num_classes=2), name, size, CPU)
    assert "\n" not in str(caught.value)

"""Classifiers out of checkpoints: the same scores again, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from checkpoint_parts import parts_of_a_run
from training import TinyNet

from sdali.pipelines.errors import InputError
from sdali.trainers.classification.checkpoint import check_input, check_training, load_classifier
from sdali.trainers.core import checkpoint
from sdali.trainers.detection.checkpoint import load_detector, start_from
from sdali.trainers.models.classification.classifiers import create_classifier
from sdali.trainers.models.detection.network import DetectionConfig, create_detector
from sdali.trainers.parsing.checkpoint import load_parser

CPU = torch.device("cpu")


def contents(model: torch.nn.Module, ema: torch.nn.Module | None = None) -> dict[str, Any]:
    return {
        **parts_of_a_run(),
        "task": "classification",
        "size": 32,
        "test_crop": "whole",
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
    with pytest.raises(InputError, match=r"c\.pt is a checkpoint of parsing, not of classification"):
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


def test_training_is_tried_without_a_trace() -> None:
    """An auxiliary head needs its size, and a norm of single cells two images; statistics stay as they were."""
    model = create_classifier("inception_v3", 2, aux_logits=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_input(model, "inception_v3", 139, CPU)
    for size, batch_size in ((139, 8), (299, 1)):
        sentence = f"inception_v3 cannot train on {size} x {size} pixels, {batch_size} at a time .*; give another size"
        with pytest.raises(InputError, match=sentence):
            check_training(model, "inception_v3", (size, size), batch_size, CPU)
    check_training(model, "inception_v3", (299, 299), 8, CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_network_without_a_score_a_class_is_refused() -> None:
    """Arguments can leave the pooling out: said before training, not by the loss."""
    model = timm.create_model("vit_tiny_patch16_224", num_classes=2, global_pool="").eval()
    with pytest.raises(InputError, match="vit_tiny_patch16_224 does not give one score a class"):
        check_input(model, "vit_tiny_patch16_224", 224, CPU)


def test_a_forged_checkpoint_is_refused(tmp_path: Path) -> None:
    """It cannot have timm fetch or read weights, nor lack a part or hold one of another type: one sentence each."""
    path, whole = tmp_path / "c.pt", contents(TinyNet(3))
    elsewhere = tmp_path / "weights.pt"
    torch.save(TinyNet(3).state_dict(), elsewhere)
    for name, value in (("checkpoint_path", str(elsewhere)), ("pretrained", True), ("cache_dir", "/tmp"), (3, 4)):
        checkpoint.save(path, {**whole, "model": {"name": "tiny_dropout_net", "args": {name: value}}})
        with pytest.raises(InputError, match=f"its model holds {name}, which is not a run's to set; give another"):
            load_classifier(path, "cpu")
    for name in whole.keys() - {"task"}:
        checkpoint.save(path, {key: value for key, value in whole.items() if key != name})
        with pytest.raises(InputError, match=rf"c\.pt is no whole checkpoint: it lacks {name}; give last\.pt"):
            load_classifier(path, "cpu")
        for wrong in (b"bytes", -1, 10**30, [1], {"name": 1}, {1: 2}, 0.5):
            checkpoint.save(path, {**whole, name: wrong})
            if name in ("identity", "config") and isinstance(wrong, dict):
                continue  # a resumption compares what is in them
            with pytest.raises(InputError, match=rf"c\.pt is no checkpoint of a run: its {name} "):
                load_classifier(path, "cpu")
    checkpoint.save(path, {**whole, "model": {"name": "resnet18", "args": {"layers": 1}}})
    with pytest.raises(InputError, match=r"the network in .*c\.pt cannot be made: timm cannot make resnet18"):
        load_classifier(path, "cpu")
    checkpoint.save(path, whole)
    load_classifier(path, "cpu")


@pytest.mark.parametrize(("load", "task"), [(load_detector, "detection"), (load_parser, "parsing")])
@pytest.mark.parametrize("network", [{}, {"x": 1}, {"backbone": "resnet18", "head": 3}, {"rpn": 5, "fcn": 5}])
def test_networks_that_cannot_be_made_are_refused(tmp_path: Path, load: Any, task: str, network: dict) -> None:
    """An unknown part, another type, no backbone: one sentence that names the file."""
    sides = {"shorter_side": 32, "longer_side": 64}
    whole = {**contents(TinyNet(3)), "task": task, "network": network, **sides}
    checkpoint.save(tmp_path / "c.pt", whole)
    with pytest.raises(InputError, match=r"c\.pt (cannot be made|do not fit)"):
        load(tmp_path / "c.pt", "cpu")


def test_starting_from_what_is_no_run_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c.pt", {"state_dict": {}})
    model = create_detector(DetectionConfig(backbone="resnet18"), 2)
    with pytest.raises(InputError, match=r"c\.pt is no checkpoint of a run; give one of detection or classification"):
        start_from(model, tmp_path / "c.pt", "resnet18")

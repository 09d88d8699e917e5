"""Networks out of checkpoints: the same scores again, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from checkpoint_parts import parts_of_a_run
from training import TinyNet

from sdali.pipelines.errors import InputError
from sdali.pipelines.store.statistics import IMAGENET
from sdali.trainers.core import checkpoint
from sdali.trainers.core.networks import check_input, check_training, load_network
from sdali.trainers.detection.job import start
from sdali.trainers.models.classification.classifiers import create_classifier
from sdali.trainers.models.detection.network import DetectionConfig, create_detector
from sdali.trainers.models.parsing.network import ParsingConfig, create_parser

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
    network = load_network(path, "cpu")
    loaded, saved = network.module, network.contents
    assert not loaded.training
    assert saved["classes"] == ["a", "b", "c"]
    with torch.no_grad():
        assert torch.equal(loaded(image), (ema if averaged else model).eval()(image))


def test_other_tasks_and_other_networks_are_refused(tmp_path: Path) -> None:
    """Another task's checkpoint, and weights that this version of the network has no place for."""
    path = tmp_path / "c.pt"
    checkpoint.save(path, {**contents(TinyNet(3)), "task": "parsing"})
    with pytest.raises(InputError, match=r"c\.pt is a checkpoint of parsing, not of classification"):
        load_network(path, "cpu", task="classification")
    checkpoint.save(path, contents(TinyNet(4)))
    with pytest.raises(InputError, match=r"the weights in .*c\.pt do not fit the network"):
        load_network(path, "cpu")


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 96), ("inception_v3", 32)])
def test_sizes_that_a_network_cannot_take(name: str, size: int) -> None:
    """A fixed size, or too small a one: refused in one line before anything is trained."""
    with pytest.raises(
        InputError, match=f"{name} does not take {size} x {size} pixels .*; give another size"
    ) as caught:
        check_input(timm.create_model(name, num_classes=2), name, size, CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
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


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    """Whatever a run's checkpoint has; and arguments that the model does not take."""
    path, whole = tmp_path / "c.pt", contents(TinyNet(3))
    for name in whole.keys() - {"task"}:
        checkpoint.save(path, {key: value for key, value in whole.items() if key != name})
        with pytest.raises(InputError, match=rf"c\.pt is not a whole checkpoint: it lacks {name}; give last\.pt"):
            load_network(path, "cpu")
    checkpoint.save(path, {**whole, "model": {"name": "resnet18", "args": {"layers": 1}}})
    with pytest.raises(InputError, match=r"the network in .*c\.pt cannot be made \(timm cannot make resnet18"):
        load_network(path, "cpu")
    checkpoint.save(path, whole)
    load_network(path, "cpu")


@pytest.mark.parametrize("task", ["detection", "parsing"])
@pytest.mark.parametrize("network", [{}, {"x": 1}, {"backbone": "resnet18", "head": 3}, {"rpn": 5, "fcn": 5}])
def test_networks_that_cannot_be_made_are_refused(tmp_path: Path, task: str, network: dict) -> None:
    """An unknown part, another type, no backbone: one sentence that names the file."""
    sides = {"shorter_side": 32, "longer_side": 64}
    whole = {**contents(TinyNet(3)), "task": task, "network": network, **sides}
    checkpoint.save(tmp_path / "c.pt", whole)
    with pytest.raises(InputError, match=r"c\.pt (cannot be made|do not fit)"):
        load_network(tmp_path / "c.pt", "cpu")


@pytest.mark.parametrize("task", ["classification", "parsing", "detection"])
def test_the_network_of_any_task_is_loaded_with_its_description(tmp_path: Path, task: str) -> None:
    """Task, classes, statistics and size are the run's; the network is ready to use."""
    networks = {
        "classification": (TinyNet(3), {}),
        "parsing": (create_parser(ParsingConfig(backbone="resnet10t"), 3), {"shorter_side": 48}),
        "detection": (
            create_detector(DetectionConfig(backbone="resnet10t"), 3),
            {"shorter_side": 48, "longer_side": 64},
        ),
    }
    model, sides = networks[task]
    network = {"backbone": "resnet10t"}
    described = {**contents(model), "task": task, "network": network, **sides}
    if sides:
        del described["size"]
    checkpoint.save(tmp_path / "c.pt", described)
    loaded = load_network(tmp_path / "c.pt", "cpu")
    assert (loaded.task, loaded.classes, loaded.path) == (task, ("a", "b", "c"), tmp_path / "c.pt")
    assert loaded.size == (48 if sides else 32)
    assert loaded.statistics.to_dict() == IMAGENET.to_dict() and not loaded.module.training
    assert {name: weight.shape for name, weight in loaded.module.state_dict().items()} == {
        name: weight.shape for name, weight in model.state_dict().items()
    }


def test_what_is_no_network_of_a_run_is_refused(tmp_path: Path) -> None:
    """Neither loaded, nor started from."""
    checkpoint.save(tmp_path / "c.pt", {"state_dict": {}})
    with pytest.raises(InputError, match=r"c\.pt does not hold the network of a run; give last\.pt or best\.pt"):
        load_network(tmp_path / "c.pt", "cpu")
    model = create_detector(DetectionConfig(backbone="resnet18"), 2)
    with pytest.raises(InputError, match=r"c\.pt is a checkpoint of None; give one of detection or classification"):
        start(model, tmp_path / "c.pt", "resnet18")

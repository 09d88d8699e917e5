"""Recipes: each network runs at its size and costs what its docstring says; the command line takes them as defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sdali.cams.activation import has_exact_map
from sdali.cli.main import main
from sdali.cli.train import TrainClassification
from sdali.pipelines.config import Augmentation
from sdali.pipelines.errors import InputError
from sdali.trainers.classification.config import TrainConfig
from sdali.trainers.classification.recipes import RECIPES, recipe
from sdali.trainers.models.classification.classifiers import create_classifier

PATHS: dict[str, Any] = {"store": Path("s"), "val_store": Path("v"), "out": Path("o")}


def network(name: str, classes: int = 1000) -> torch.nn.Module:
    config = TrainConfig(**recipe(name), **PATHS)
    return create_classifier(config.model, classes, **config.model_arguments).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_network_runs_at_its_size_and_costs_what_is_said(name: str) -> None:
    """Parameters and MACs of one forward pass, counted by torch where nothing is computed, are the docstring's."""
    config = TrainConfig(**recipe(name), **PATHS)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = network(name)
        assert model(torch.zeros(1, 3, config.size, config.size)).shape == (1, 1000)
    said = re.search(r"Cost, computed: ([\d.]+) M parameters.*?, ([\d.]+) GMACs", RECIPES[name].__doc__ or "")
    assert said is not None
    assert float(said[1]) == round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)
    assert float(said[2]) == round(counter.get_total_flops() / 2e9, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["inception_v3", "inception_resnet_v2", "wide_resnet50_2", "resnetv2_101", "small_cpu"]
)
def test_maps_are_exact_where_that_is_said(name: str) -> None:
    """On a random network at a smaller size."""
    torch.manual_seed(0)
    said = "class activation map is exact" in (RECIPES[name].__doc__ or "")
    assert said == has_exact_map(network(name, 4), 139 if name.startswith("inception") else 64)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_the_talks(name: str) -> None:
    """The talk's crops, colours, momentum and plain end; a docstring with source and its own command."""
    config = TrainConfig(**recipe(name), **PATHS)
    assert (config.optimizer, config.momentum, config.plain_epochs) == ("sgd", 0.9, 4)
    assert config.augmentation == Augmentation()
    doc = RECIPES[name].__doc__ or ""
    assert f"sdali train classification --recipe {name} --store STORE --val-store VAL --out DIR\n" in doc
    assert "Source: " in doc or "our choice" in doc.lower()


def parsed(monkeypatch: pytest.MonkeyPatch, *flags: str) -> TrainClassification:
    """The configuration that the command line makes of flags."""
    made: list[TrainClassification] = []
    monkeypatch.setattr(TrainClassification, "run", lambda config: made.append(config))
    assert main(["train", "classification", "--store", "s", "--val-store", "v", "--out", "o", *flags]) == 0
    return made[0]


def test_flags_stand_before_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given is taken, nested values too; the rest is the recipe's; without one, TrainConfig's."""
    config = parsed(monkeypatch, "--epochs", "7", "--recipe", "inception_v3", "--colour.lighting", "0.2")
    assert (config.recipe, config.model, config.model_args) == ("inception_v3", "inception_v3", ("aux_logits=True",))
    assert (config.epochs, config.size, config.label_smoothing, config.plain_epochs) == (7, 299, 0.1, 4)
    assert (config.augmentation.colour.lighting, config.augmentation.colour.contrast) == (0.2, 0.4)
    assert (config.store, config.val_store, config.out) == (Path("s"), Path("v"), Path("o"))
    config = parsed(monkeypatch, "--recipe=wide_resnet65_2", "--model-args", "layers=1,1,1,1", "drop_rate=0.5")
    assert config.model_arguments == {"layers": (1, 1, 1, 1), "drop_rate": 0.5}
    assert parsed(monkeypatch, "--model-args").model_args == ()
    plain = parsed(monkeypatch)
    assert (plain.recipe, plain.size, plain.plain_epochs) == (None, 224, 0)


def test_help_shows_the_recipes_values(capsys: pytest.CaptureFixture[str]) -> None:
    """As defaults; without a recipe it names all of them."""
    for flags, shown in (
        (["--recipe", "inception_v3"], ["default: 299", "default: inception_v3"]),
        ([], list(RECIPES)),
    ):
        assert main(["train", "classification", *flags, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.replace("│", " ").split())  # lines are broken to the terminal's width
        assert all(value in said for value in shown)
        assert ("default: 224" in said) == (not flags)


def test_unknown_recipes_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence lists those that there are; a flag that breaks the recipe's rules is named."""
    with pytest.raises(InputError, match=r"there is no recipe 'vgg'; choose one of inception_v3, .*, small_cpu"):
        recipe("vgg")
    assert main(["train", "classification", "--recipe", "vgg"]) == 2
    assert capsys.readouterr().err.startswith("sdali: there is no recipe 'vgg'; choose one of inception_v3")
    paths = ["--store", "s", "--val-store", "v", "--out", "o"]
    assert main(["train", "classification", *paths, "--recipe", "small_cpu", "--epochs", "3"]) == 2
    assert "--plain-epochs must be from 0 to epochs (3), got 4" in capsys.readouterr().err

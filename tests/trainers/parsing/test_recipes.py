"""Recipes of scene parsing: each network costs what its docstring says; the command line takes them as defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sdali.cli.main import main
from sdali.cli.train import TrainParsing
from sdali.pipelines.errors import InputError
from sdali.trainers.models.parsing.network import create_parser
from sdali.trainers.parsing import TrainConfig
from sdali.trainers.parsing.recipes import RECIPES, recipe

PATHS: dict[str, Any] = {"store": Path("s"), "val_store": Path("v"), "out": Path("o")}
IMAGES = 20_210  # of ADE20K to train on


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_costs_what_it_says(name: str) -> None:
    """Parameters, MACs of a window, steps and MACs of the run; the lattice of a message is no matrix product."""
    config = TrainConfig(**recipe(name), **PATHS)
    steps = config.epochs * (IMAGES // config.batch_size)
    assert steps == pytest.approx(150_000, rel=0.01)
    model = create_parser(config.network, 150).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert model(torch.zeros(1, 3, *config.size)).shape == (1, 150, *config.size)
    doc = " ".join((RECIPES[name].__doc__ or "").split())
    said = re.search(
        r"computed: ([\d.]+) M parameters \(([\d.]+) .*?, ([\d.]+) GMACs .*? about ([\d.]+) x 10\^18 MACs", doc
    )
    assert said is not None
    parameters, auxiliary, giga, exa = (float(number) for number in said.groups())
    assert parameters == round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)
    head = model.get_submodule("auxiliary")
    assert auxiliary == round(sum(weight.numel() for weight in head.parameters()) / 1e6, 1)
    macs = counter.get_total_flops() / 2
    assert giga == round(macs / 1e9, 1)
    assert exa == pytest.approx(3 * macs * steps * config.batch_size / 1e18, rel=0.05)
    assert f"sdali train parsing --recipe {name} --store STORE --val-store VAL --backbone-weights BEST --out DIR" in doc


def test_flags_stand_before_the_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is given is taken, nested values too; the rest is the recipe's."""
    made: list[TrainParsing] = []
    monkeypatch.setattr(TrainParsing, "run", lambda config: made.append(config))
    flags = ["train", "parsing", "--store", "s", "--val-store", "v", "--out", "o"]
    assert main([*flags, "--recipe", "ade20k_vgg16", "--mcn.channels", "64", "--size", "96", "128"]) == 0
    assert (made[0].network.backbone, made[0].network.mcn.channels, made[0].network.mcn.width) == ("vgg16", 64, 256)
    assert (made[0].size, made[0].batch_size, made[0].network.auxiliary) == ((96, 128), 16, True)
    assert main(flags) == 0
    assert (made[1].recipe, made[1].network.backbone) == (None, "resnet18")
    assert main([*flags, "--recipe", "voc"]) == 2
    assert "there is no recipe 'voc'; choose one of ade20k_vgg16, ade20k_resnet101" in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no recipe"):
        recipe("voc")

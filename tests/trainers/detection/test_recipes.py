"""Recipes of object detection: each network costs what its docstring says; the command line takes them as defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sdali.cli.main import main
from sdali.cli.train import TrainDetection
from sdali.pipelines.errors import InputError
from sdali.trainers.detection import TrainConfig
from sdali.trainers.detection.recipes import RECIPES, recipe
from sdali.trainers.models.detection.network import create_detector

PATHS: dict[str, Any] = {"store": Path("s"), "val_store": Path("v"), "out": Path("o"), "start_from": Path("c")}
CLASSES = {"bccd_cpu": 3, "voc_resnet101": 20}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_costs_what_it_says(name: str) -> None:
    """Parameters and MACs of an image with as many proposals as it says, counted without computing anything."""
    doc = " ".join((RECIPES[name].__doc__ or "").split())
    said = re.search(r"computed: ([\d.]+) M parameters, ([\d.]+) GMACs an image of (\d+) x (\d+) with (\d+) prop", doc)
    assert said is not None
    millions, giga, width, height, count = (float(number) for number in said.groups())
    config = TrainConfig(**recipe(name), **PATHS)
    model: Any = create_detector(config.network, CLASSES[name]).eval().to("meta")
    assert millions == round(sum(weight.numel() for weight in model.parameters()) / 1e6, 1)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.features(torch.zeros(1, 3, int(height), int(width), device="meta"))
        model.rpn(model.norm(features))
        boxes = torch.zeros(int(count), 4, device="meta")
        model.classify(features, [boxes], torch.tensor([[int(height), int(width)]]))
    assert giga == round(counter.get_total_flops() / 2e9, 1)
    assert count == config.network.rpn.proposals
    assert f"sdali train detection --recipe {name} --store STORE --val-store VAL " in doc


def test_flags_stand_before_the_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What is given is taken, nested values too; the rest is the recipe's."""
    made: list[TrainDetection] = []
    monkeypatch.setattr(TrainDetection, "run", lambda config: made.append(config))
    flags = ["train", "detection", "--store", "s", "--val-store", "v", "--out", "o"]
    given = ["--recipe", "bccd_cpu", "--shorter-side", "224,256", "--rpn.proposals", "50", "--cascade-rpn"]
    assert main([*flags, *given]) == 0
    assert (made[0].shorter_side, made[0].tested_side, made[0].batch_size) == ((224, 256), 256, 4)
    network = made[0].network
    assert (network.rpn.proposals, network.rpn.anchor_sizes[0], network.cascade_rpn) == (50, 16, True)
    assert main(flags) == 0
    assert (made[1].recipe, made[1].shorter_side, made[1].schedule) == (None, (600,), "step")
    assert main([*flags, "--recipe", "voc_resnet101", "--start-from", "c"]) == 0
    assert (made[2].start_from, made[2].network.frozen_norm, made[2].tested_side) == (Path("c"), True, 688)
    assert main([*flags, "--recipe", "coco"]) == 2
    assert "there is no recipe 'coco'; choose one of bccd_cpu, voc_resnet101" in capsys.readouterr().err
    with pytest.raises(InputError, match="there is no recipe"):
        recipe("coco")

"""Recipes of scene parsing: whole training configurations, each a function that gives keyword arguments of TrainConfig.

    paths = {"store": Path("ade.lmdb"), "val_store": Path("ade.val.lmdb"), "out": Path("run")}
    config = TrainConfig(**recipe("ade20k_resnet101"), **paths)

The talk names the networks and no hyperparameters: those of ADE20K are PSPNet's (Zhao et al., CVPR 2017), a network of
this size. Costs are computed: a multiplication with its addition is one MAC.
"""

from __future__ import annotations

from typing import Any

from ...pipelines.config import ParsingAugmentation, ParsingCrop
from ..core.checks import checked_recipe
from ..models.parsing.message_passing import MessagePassingConfig
from ..models.parsing.mixed_context import MixedContextConfig
from ..models.parsing.network import ParsingConfig


def recipe(name: str) -> dict[str, Any]:
    """The TrainConfig arguments of a recipe, by its name in RECIPES; raises InputError for an unknown name."""
    return checked_recipe(name, RECIPES)()


def ade20k_vgg16() -> dict[str, Any]:
    """VGG-16 with Mixed Context and Message Passing Networks, on ADE20K's 20,210 images of 150 classes.

    Source: the talk's first network; hyperparameters of PSPNet for ADE20K: windows of 473 pixels, scales from 0.5 to 2,
    150,000 steps of 16 images, learning rate 0.01, poly.
    Cost, computed: 25.8 M parameters (2.4 of them the auxiliary head's), 116.9 GMACs a window forward, so about 0.85 x
    10^18 MACs for the whole run, forward and backward. Start from a classifier (--backbone-weights): the talk's
    networks were pre-trained on ImageNet.

        sdali train parsing --recipe ade20k_vgg16 --store STORE --val-store VAL --backbone-weights BEST --out DIR
    """
    return _ade20k(backbone="vgg16")


def ade20k_resnet101() -> dict[str, Any]:
    """ResNet-101 with Mixed Context and Message Passing Networks, on ADE20K's 20,210 images of 150 classes.

    Source: as ade20k_vgg16.
    Cost, computed: 56.8 M parameters (4.8 of them the auxiliary head's), 189.8 GMACs a window forward, so about 1.4 x
    10^18 MACs for the whole run, forward and backward.

        sdali train parsing --recipe ade20k_resnet101 --store STORE --val-store VAL --backbone-weights BEST --out DIR
    """
    return _ade20k(backbone="resnet101")


def _ade20k(backbone: str) -> dict[str, Any]:
    return {
        "network": ParsingConfig(
            backbone=backbone,
            head="mcn_mpn",
            auxiliary=True,
            mcn=MixedContextConfig(channels=512, width=256, dilations=(1, 2, 4, 8, 16, 1)),
            mpn=MessagePassingConfig(channels=32, position_bandwidth=80.0, colour_bandwidth=13.0),
        ),
        "size": (473, 473),
        "batch_size": 16,
        "epochs": 119,  # 150,000 steps
        "warmup_epochs": 0.0,
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "lr": 0.01,
        "schedule": "poly",
        "evaluate_every": 7,
        "augmentation": ParsingAugmentation(crop=ParsingCrop(scale=(0.5, 2.0))),
    }


RECIPES = {function.__name__: function for function in (ade20k_vgg16, ade20k_resnet101)}
"""Every recipe, by its name."""

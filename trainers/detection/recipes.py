"""Recipes of object detection: whole training configurations, each a function that gives TrainConfig's arguments.

    paths = {"store": Path("voc.lmdb"), "val_store": Path("voc.val.lmdb"), "out": Path("run")}
    config = TrainConfig(**recipe("bccd_cpu"), **paths)

The talk names the parts and no hyperparameters: those of VOC are Faster R-CNN's and Detectron's. Costs are computed: a
multiplication with its addition is one MAC; an image is one forward pass with its proposals classified.
"""

from __future__ import annotations

from typing import Any

from ...pipelines.config import Colour, DetectionAugmentation
from ..core.checks import checked_recipe
from ..models.detection.network import DetectionConfig
from ..models.detection.rpn import RPNConfig


def recipe(name: str) -> dict[str, Any]:
    """The TrainConfig arguments of a recipe, by its name in RECIPES; raises InputError for an unknown name."""
    return checked_recipe(name, RECIPES)()


def bccd_cpu() -> dict[str, Any]:
    """ResNet-18 with regions of 7 x 7 cells, at 320 x 240 pixels: what two cores train on BCCD's 205 photographs.

    Source: our choice, from random weights: anchors from 16 px, since platelets are 20 px there; AdamW and a cosine,
    60 epochs of 51 steps.
    Cost, computed: 11.8 M parameters, 42.6 GMACs an image of 320 x 240 with 300 proposals.

        sdali train detection --recipe bccd_cpu --store STORE --val-store VAL --out DIR
    """
    return {
        "network": DetectionConfig(
            backbone="resnet18",
            roi_size=7,
            regions=64,
            rpn=RPNConfig(anchor_sizes=(16, 32, 64, 128), proposals=300),
        ),
        "shorter_side": (240,),
        "longer_side": 400,
        "batch_size": 4,
        "epochs": 60,
        "order": "class_balanced",
        "optimizer": "adamw",
        "lr": 3e-4,
        "weight_decay": 0.05,
        "warmup_epochs": 1.0,
        "schedule": "cosine",
        "ema": 0.998,
        "evaluate_every": 6,
        "augmentation": DetectionAugmentation(colour=Colour(brightness=0.2, contrast=0.2, saturation=0.2)),
    }


def voc_resnet101() -> dict[str, Any]:
    """ResNet-101 with identity mappings and all the talk's parts, on VOC 2007 and 2012's 16,551 training images.

    Source: the talk's best detector; the sides of multi-scale training are SPPnet's (He et al. 2014), 14 x 14 cells
    those of He et al. 2016, learning rate and steps Detectron's: 0.02 for 16 images, falling at 2/3 and 8/9. 17 epochs
    and the warm-up are our choice.
    Cost, computed: 60.6 M parameters, 335.7 GMACs an image of 1000 x 600 with 300 proposals. Start from a classifier
    (--start-from), which frozen norms and the pretrained global context need.

        sdali train detection --recipe voc_resnet101 --store STORE --val-store VAL --start-from BEST --out DIR
    """
    return {
        "network": DetectionConfig(
            backbone="resnetv2_101",
            frozen_norm=True,
            roi_size=14,
            regions=128,
            cascade_rpn=True,
            constrained="rpn",
            global_context="pretrained",
            ohem=True,
        ),
        "shorter_side": (480, 576, 688, 864, 1200),
        "longer_side": 2000,
        "batch_size": 2,
        "epochs": 17,
        "order": "class_balanced",
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "warmup_epochs": 0.5,
        "schedule": "step",
        "lr": 0.02 * 2 / 16,
        "evaluate_every": 4,
        "augmentation": DetectionAugmentation(colour=Colour()),
    }


RECIPES = {function.__name__: function for function in (bccd_cpu, voc_resnet101)}
"""Every recipe, by its name."""

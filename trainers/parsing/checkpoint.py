"""What a checkpoint of scene parsing says about the network, and the network made from it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...pipelines.errors import InputError
from ..classification import checkpoint as classifier_checkpoint
from ..core import checkpoint
from ..core.checkpoint_keys import network_errors
from ..core.distributed import resolve_device
from ..models.parsing.network import ParsingConfig, ParsingNetwork, create_parser

TASK = "parsing"


def load_parser(path: str | Path, device: str | torch.device = "auto") -> tuple[ParsingNetwork, dict[str, Any]]:
    """The trained network in evaluation mode on `device`, with averaged weights where there are any, and the contents.

    Keys of the contents: `network` (ParsingConfig.from_dict takes it), `shorter_side` (px, to which images are brought
    in a test, None: as they are), and those of any run, see checkpoint.load. Raises InputError for a file that is no
    such checkpoint.
    """
    contents = checkpoint.load(path, TASK)
    with network_errors(path):
        config = ParsingConfig.from_dict(contents["network"])
        model = create_parser(config, len(contents["classes"]), std=contents["statistics"]["std"])
    checkpoint.load_weights(model, contents["ema"] or contents["state_dict"], path)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return model.to(where).eval(), contents


def load_backbone(model: ParsingNetwork, path: str | Path, backbone: str) -> None:
    """Fill the backbone with the weights of a trained classifier; raises InputError for one of another network."""
    contents = classifier_checkpoint.load(path)
    if (name := contents["model"]["name"]) != backbone:
        raise InputError(f"{path} is a checkpoint of {name}, and the backbone is {backbone}; give one of that network")
    weights = contents["ema"] or contents["state_dict"]
    wanted = model.backbone.state_dict()
    if missing := [name for name in wanted if name not in weights or weights[name].shape != wanted[name].shape]:
        raise InputError(f"{path} lacks {len(missing)} of the backbone's weights, such as {missing[0]}; give another")
    model.backbone.load_state_dict({name: weights[name] for name in wanted})

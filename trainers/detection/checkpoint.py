"""What a detector's checkpoint says about the network, the network made from it again, and weights to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ...pipelines.errors import InputError
from ..classification import checkpoint as classifier_checkpoint
from ..core import checkpoint
from ..core.checkpoint_keys import OF_TASK, network_errors
from ..core.distributed import resolve_device
from ..models.backbones import Taken
from ..models.detection.detector import Detector, start_from_classifier, start_from_detector
from ..models.detection.network import DetectionConfig, create_detector

TASK = "detection"


def load_detector(path: str | Path, device: str | torch.device = "auto") -> tuple[Detector, dict[str, Any]]:
    """The trained network in evaluation mode on `device`, with averaged weights where there are any, and the contents.

    Keys of the contents: `network` (DetectionConfig.from_dict takes it), `shorter_side` and `longer_side` (px, of the
    images in the run's evaluations), and those of any run, see checkpoint.load. Raises InputError for a file that is no
    such checkpoint.
    """
    contents = checkpoint.load(path, TASK)
    with network_errors(path):
        model = create_detector(DetectionConfig.from_dict(contents["network"]), len(contents["classes"]))
    checkpoint.load_weights(model, contents["ema"] or contents["state_dict"], path)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return model.to(where).eval(), contents


def start_from(model: Detector, path: str | Path, backbone: str) -> Taken:
    """Fill a detector on this backbone with what fits of a detector's or a classifier's weights.

    Raises InputError for a checkpoint of another task or backbone, or that lacks weights of the backbone.
    """
    contents = checkpoint.load(path)
    if contents.get("task") not in OF_TASK:
        raise InputError(f"{path} is no checkpoint of a run; give one of detection or classification")
    weights = contents["ema"] or contents["state_dict"]
    if contents["task"] == TASK:
        name, names, prefix = contents["network"].get("backbone"), start_from_detector, "backbone.network."
    elif contents["task"] == classifier_checkpoint.TASK:
        name, names, prefix = contents["model"]["name"], start_from_classifier, ""
    else:
        raise InputError(f"{path} is a checkpoint of {contents['task']}; give one of detection or classification")
    if name != backbone:
        raise InputError(f"{path} is a checkpoint of {name}, and the backbone is {backbone}; give one of that network")
    found = names(model, weights)
    wanted = (prefix + own for own in model.backbone.network.state_dict())
    if missing := sorted(set(wanted) - set(found.taken)):
        raise InputError(f"{path} lacks {len(missing)} of the backbone's weights, such as {missing[0]}; give another")
    return found

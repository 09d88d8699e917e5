"""Starting a network from another's weights: what fits by name and shape is taken, and both halves are told.

So a detector starts from a classifier, or from a detector of other classes, whose last layers have other shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from .detector import Detector


class Taken(NamedTuple):
    """Names of a state_dict."""

    taken: list[str]
    left: list[str]
    """No weight of the network has that name, or it has another shape."""


def load_matching(model: nn.Module, state_dict: Mapping[str, Tensor]) -> Taken:
    """Fill the network with the entries that fit it; the rest of it stays as it is.

    Only shapes tell the classes of two networks apart: layers for as many others are taken too.
    """
    own = model.state_dict()
    taken = {name: value for name, value in state_dict.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(taken, strict=False)
    return Taken(list(taken), [name for name in state_dict if name not in taken])


def start_from_classifier(detector: Detector, state_dict: Mapping[str, Tensor]) -> Taken:
    """Backbone and conv5 from a classifier of that backbone, and the pretrained global context's conv5 with them."""
    names = load_matching(detector.backbone.network, state_dict)
    _adopt(detector)
    return names


def start_from_detector(detector: Detector, state_dict: Mapping[str, Tensor]) -> Taken:
    """All that fits; a pretrained global context that the other detector lacks starts from its conv5."""
    names = load_matching(detector, state_dict)
    if not any(name.startswith("context.") for name in names.taken):
        _adopt(detector)
    return names


def _adopt(detector: Detector) -> None:
    context = getattr(detector, "context", None)
    if context is not None:
        context.adopt(detector.backbone.conv5)

"""Starting from other weights: what is taken, what is left, and that the rest stays."""

from __future__ import annotations

from typing import Any

import torch
from detectors import awake, small
from timm import create_model

from sdali.trainers.models.backbones import load_matching
from sdali.trainers.models.detection.detector import start_from


def test_what_fits_by_name_and_shape_is_taken() -> None:
    made = torch.nn.Linear(2, 3)
    bias = made.bias.clone()
    weight = torch.randn(3, 2)
    names = load_matching(made, {"weight": weight, "bias": torch.randn(4), "other": torch.randn(3, 2)})
    assert names == (["weight"], ["bias", "other"])
    assert torch.equal(made.weight, weight) and torch.equal(made.bias, bias)


def test_a_detector_of_other_classes() -> None:
    """All but the last layers, RPN and all; an RPN1 fits a plain RPN."""
    made, other = small(3, cascade_rpn=True), small(20)
    torch.nn.init.normal_(other.rpn.head.conv.weight)
    names = start_from(made, other.state_dict(), classifier=False)
    assert names.left == ["classifier.weight", "classifier.bias", "regressor.weight", "regressor.bias"]
    assert torch.equal(made.rpn.head.conv.weight, other.rpn.head.conv.weight)
    fresh = small(3, cascade_rpn=True).state_dict()
    for name, value in made.state_dict().items():
        assert torch.equal(value, other.state_dict()[name] if name in names.taken else fresh[name]), name


def test_a_classifier() -> None:
    """Fills backbone and conv5 of either neck; its own last layer is left, and a wider one fits nothing of a layer."""
    classifier = awake(create_model("resnet10t", num_classes=7))
    for neck in ("c4", "fpn"):
        made = small(neck=neck)
        names = start_from(made, classifier.state_dict(), classifier=True)
        assert names.left == ["fc.weight", "fc.bias"]
        assert all(torch.equal(made.backbone.network.state_dict()[n], classifier.state_dict()[n]) for n in names.taken)
    assert start_from(small(), create_model("convnet4").state_dict(), classifier=True).taken == []


def test_frozen_norms_take_a_classifiers_statistics() -> None:
    """Their count of batches alone is left, which they do not have."""
    classifier: Any = awake(create_model("resnet10t", num_classes=7))
    made = small(frozen_norm=True)
    names = start_from(made, classifier.state_dict(), classifier=True)
    assert all(name.startswith("fc.") or name.endswith("num_batches_tracked") for name in names.left)
    assert torch.equal(made.backbone.network.layer4[0].bn1.weight, classifier.layer4[0].bn1.weight)

"""Stages of ResNets against timm's own classifiers."""

from __future__ import annotations

import pytest
import timm
import torch
from detectors import awake
from torch import nn

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.resnet_stages import ResNetStages


@pytest.mark.parametrize("name", ["resnet10t", "resnetv2_18"])
def test_stages_and_conv5_make_the_classifiers_features(name: str) -> None:
    """conv5 goes on from the third stage's output to what the classifier averages; strides are 4 to 32."""
    classifier = awake(timm.create_model(name)).eval()
    backbone = ResNetStages(name).eval()
    backbone.network.load_state_dict(
        {k: v for k, v in classifier.state_dict().items() if not k.startswith(("fc.", "head."))}
    )
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        outputs = backbone(images, 4)
        expected = classifier.forward_features(images)  # type: ignore[operator]
        torch.testing.assert_close(backbone.conv5(outputs[2]), expected)
        torch.testing.assert_close(outputs[3], expected)
        assert len(backbone(images, 2)) == 2
    assert [output.shape[1] for output in outputs] == backbone.channels
    assert [tuple(output.shape[2:]) for output in outputs] == [(16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet101", "resnetv2_50", "resnetv2_101"])
def test_weights_are_those_of_the_classifier(name: str) -> None:
    with torch.device("meta"):
        own, plain = ResNetStages(name).network.state_dict(), timm.create_model(name).state_dict()
    assert {k: v.shape for k, v in own.items()} == {
        k: v.shape for k, v in plain.items() if not k.startswith(("fc.", "head."))
    }


def test_raw_sums_get_a_norm() -> None:
    """Outputs of identity mappings are sums of either sign, and need one; those of a plain ResNet are activated."""
    for name, raw in (("resnetv2_18", True), ("resnet10t", False)):
        backbone = ResNetStages(name)
        (*_, third) = backbone(torch.randn(2, 3, 64, 64), 3)
        assert bool((third < 0).any()) is raw
        normed = backbone.norm(2)(third)
        assert (normed >= 0).all()
        if raw:
            torch.testing.assert_close(normed, nn.functional.batch_norm(third, None, None, training=True).relu())
        else:
            assert normed is third


def test_frozen_norms_learn_nothing() -> None:
    """No parameter, no statistic of theirs moves in training; they are loaded from a classifier."""
    backbone = ResNetStages("resnet10t", frozen=True).train()
    classifier = timm.create_model("resnet10t").state_dict()
    backbone.network.load_state_dict({k: v for k, v in classifier.items() if "num_batches" not in k and "fc." not in k})
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 64), 4)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert not any("bn" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg16", "detectors stand on ResNets, and vgg16 is none; use one"),
        ("resnet81", "timm has no model called 'resnet81'"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=message):
        ResNetStages(name)

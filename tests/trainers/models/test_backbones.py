"""Backbones of scene parsing (at stride 8) and of detection (in stages) against timm's own classifiers."""

from __future__ import annotations

import pytest
import timm
import torch
from detectors import awake
from torch import Tensor, nn

from sdali.pipelines.errors import InputError
from sdali.trainers.models.backbones import detection_backbone, parsing_backbone


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)}


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (256, 512)),
        ("resnet50", (1024, 2048)),
        ("resnet101", (1024, 2048)),
        ("vgg16", (512, 512)),
        ("vgg16_bn", (512, 512)),
    ],
)
def test_weights_are_those_of_the_classifier(name: str, channels: tuple[int, int]) -> None:
    """Names and shapes equal the plain timm network's, all but what comes after the features."""
    with torch.device("meta"):
        network, found = parsing_backbone(name)
        plain = timm.create_model(name).state_dict()
    expected = {
        key: tensor.shape for key, tensor in plain.items() if not key.startswith(("fc.", "pre_logits.", "head."))
    }
    assert {key: tensor.shape for key, tensor in network.state_dict().items()} == expected
    assert found == channels


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vgg16", "vgg16_bn"])
@pytest.mark.parametrize("size", [(64, 96), (61, 90)])
def test_two_maps_at_stride_8(name: str, size: tuple[int, int]) -> None:
    """ResNets round a part of 8 pixels up, VGG down."""
    network, channels = parsing_backbone(name)
    with torch.no_grad():
        maps = network.eval()(torch.randn(1, 3, *size))
    sides = tuple(side // 8 if "vgg" in name else -(-side // 8) for side in size)
    assert [tuple(one.shape) for one in maps] == [(1, count, *sides) for count in channels]


def test_dilated_resnet_is_the_plain_one_at_every_fourth_cell() -> None:
    """With the weights of the plain network: its stage 3 at every second cell, its stage 4 at every fourth."""
    torch.manual_seed(0)
    plain = timm.create_model("resnet18", features_only=True, out_indices=(3, 4)).eval()
    network, _ = parsing_backbone("resnet18")
    network.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        for fine, coarse, step in zip(network.eval()(images), plain(images), (2, 4), strict=True):
            torch.testing.assert_close(fine[..., ::step, ::step], coarse, rtol=1e-3, atol=1e-3)


def test_dilated_vgg_is_the_plain_one_without_pooling() -> None:
    """conv5 is that of the plain network on each of the four grids of every second cell: dilation 2, and no pooling."""
    torch.manual_seed(0)
    plain = timm.create_model("vgg16", num_classes=0, mlp_ratio=1 / 4096).eval()
    network, _ = parsing_backbone("vgg16")
    network.load_state_dict({key: value for key, value in plain.state_dict().items() if key.startswith("features.")})
    layers: nn.Sequential = plain.features  # type: ignore[assignment]
    pools = [place for place, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 64)
        earlier, last = network.eval()(images)
        torch.testing.assert_close(earlier, layers[: pools[3]](images))
        conv5 = layers[pools[3] + 1 : pools[4]]
        for y in range(2):
            for x in range(2):
                grid: Tensor = conv5(earlier[..., y::2, x::2].contiguous())
                torch.testing.assert_close(last[..., y::2, x::2], grid, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["inception_v3", "vit_tiny_patch16_224", "convnet4"])
def test_networks_without_stride_8(name: str) -> None:
    """One sentence names the network, timm's reason, and what to use."""
    with pytest.raises(InputError, match=f"timm cannot make {name} with .*stride 8 .*use a ResNet") as caught:
        parsing_backbone(name)
    assert "\n" not in str(caught.value)


def test_unknown_name() -> None:
    with pytest.raises(InputError, match=r"no model called 'resnet81'.*resnet18"):
        parsing_backbone("resnet81")


# Stages of a ResNet, for detection


@pytest.mark.parametrize("name", ["resnet10t", "resnetv2_18"])
def test_stages_and_conv5_make_the_classifiers_features(name: str) -> None:
    """conv5 goes on from the third stage's output to what the classifier averages; strides are 4 to 32."""
    classifier = awake(timm.create_model(name)).eval()
    backbone = detection_backbone(name).eval()
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
def test_weights_of_stages_are_those_of_the_classifier(name: str) -> None:
    with torch.device("meta"):
        ours, plain = detection_backbone(name).network.state_dict(), timm.create_model(name).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {
        k: v.shape for k, v in plain.items() if not k.startswith(("fc.", "head."))
    }


def test_raw_sums_get_a_norm() -> None:
    """Outputs of identity mappings are sums of either sign, and need one; those of a plain ResNet are activated."""
    for name, raw in (("resnetv2_18", True), ("resnet10t", False)):
        backbone = detection_backbone(name)
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
    backbone = detection_backbone("resnet10t", frozen=True).train()
    classifier = timm.create_model("resnet10t").state_dict()
    backbone.network.load_state_dict({k: v for k, v in classifier.items() if "num_batches" not in k and "fc." not in k})
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.randn(2, 3, 64, 64), 4)
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert not any("bn" in name for name, _ in backbone.named_parameters())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vgg16", "the backbone of a detector must be a ResNet, got vgg16; use resnet18"),
        ("resnet81", "timm has no model called 'resnet81'"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with torch.device("meta"), pytest.raises(InputError, match=message):
        detection_backbone(name)

"""Classifiers by name, and the small one of ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import nn

from sdali.pipelines.errors import InputError
from sdali.trainers.models.classification.classifiers import ConvNet4, create_classifier, linear_head


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks wait for each other's threads for seconds where the cores are busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images(count: int = 2, size: int = 96) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def convnet4(num_classes: int = 6, **arguments: Any) -> ConvNet4:
    model = create_classifier("convnet4", num_classes, **arguments)
    assert isinstance(model, ConvNet4)
    return model


def test_convnet4_is_a_timm_model() -> None:
    """timm makes it by name, with the number of classes asked for, and lists it."""
    model = timm.create_model("convnet4", num_classes=5)
    assert "convnet4" in timm.list_models()
    assert model(images()).shape == (2, 5)


def test_convnet4_has_four_convolutions_and_twelve_cells() -> None:
    """At 96 px the features are 12 x 12."""
    model = convnet4().eval()
    assert sum(isinstance(module, nn.Conv2d) for module in model.modules()) == 4
    assert model.forward_features(images()).shape == (2, model.num_features, 12, 12)


def test_convnet4_is_pooling_and_one_linear_layer() -> None:
    """Logits are the linear layer on the mean of the features, worked out in float64."""
    model = convnet4().eval()
    with torch.inference_mode():
        features, logits = model.forward_features(images()), model(images())
        head = model.get_classifier()
        assert isinstance(head, nn.Linear)
        expected = features.double().mean((2, 3)) @ head.weight.double().T + head.bias.double()
        torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.forward_head(features, pre_logits=True), features.mean((2, 3)))


def test_reset_classifier() -> None:
    """Another number of classes, or none: then features come out, as in timm."""
    model = convnet4()
    model.reset_classifier(3)
    assert model.num_classes == 3 and model(images()).shape == (2, 3)
    model.reset_classifier(0)
    assert model(images()).shape == (2, model.num_features)


def test_the_head_starts_without_a_shared_offset() -> None:
    """Initial weights sum to 0 over the classes, and so do the gradients of cross-entropy."""
    torch.manual_seed(0)
    head = linear_head(32, 6)
    assert isinstance(head, nn.Linear)
    assert head.weight.sum(0).abs().max() < 1e-5 and head.weight.abs().max() > 0.5
    nn.functional.cross_entropy(head(torch.randn(8, 32)), torch.arange(8) % 6).backward()
    assert head.weight.grad is not None and head.weight.grad.sum(0).abs().max() < 1e-6


def test_convnet4_learns() -> None:
    """Twenty steps tell horizontal from vertical stripes, which no mean colour does."""
    torch.manual_seed(0)
    model = convnet4(2, widths=(8, 8, 8, 8))
    labels = torch.arange(16) % 2
    wave = torch.sin(torch.arange(32) * 0.8)
    stripes = torch.stack([wave.expand(3, 32, 32) if label else wave[:, None].expand(3, 32, 32) for label in labels])
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(stripes + 0.5 * torch.randn_like(stripes)), labels)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.1 * gradient
    model.eval()
    assert (model(stripes).argmax(1) == labels).all()


def test_other_timm_models() -> None:
    """Any other name is timm's."""
    assert create_classifier("resnet10t", 4)(images(1, 64)).shape == (1, 4)


@pytest.mark.parametrize(("name", "hint"), [("resnet81", "did you mean .*resnet18"), ("zzqqxx", "list_models")])
def test_unknown_name(name: str, hint: str) -> None:
    """One sentence names the model and, where there are any, close ones."""
    with pytest.raises(InputError, match=f"{name}.*{hint}"):
        create_classifier(name, 2)


def shapes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in model.state_dict().values()]


@pytest.mark.parametrize(
    ("name", "arguments", "same"),
    [
        ("resnet26", {"layers": (3, 4, 6, 3)}, "resnet50"),
        ("resnet50", {"base_width": 128}, "wide_resnet50_2"),
        ("resnet50", {"layers": [3, 4, 23, 3], "base_width": 128}, "wide_resnet101_2"),
    ],
)
def test_deeper_and_wider_variants_are_arguments(name: str, arguments: dict[str, Any], same: str) -> None:
    """timm's own variants are their base with other arguments, weight by weight."""
    with torch.device("meta"):
        assert shapes(create_classifier(name, 4, **arguments)) == shapes(timm.create_model(same, num_classes=4))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [({"breadth": 3}, "breadth=3 .*unexpected keyword"), ({"layers": "many"}, "layers='many'"), ({"layers": 3}, "")],
)
def test_arguments_that_a_model_does_not_take(arguments: dict[str, Any], reason: str) -> None:
    """One sentence names the model, the arguments and timm's reason."""
    with pytest.raises(InputError, match=f"timm cannot make resnet18 with {reason}.*; give arguments") as caught:
        create_classifier("resnet18", 2, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_inceptions_auxiliary_head_works_in_training_only() -> None:
    """Two scores in training; one in evaluation, that of the network without the head, and back again."""
    torch.manual_seed(0)
    model: Any = create_classifier("inception_v3", 3, aux_logits=True)
    plain: Any = create_classifier("inception_v3", 3)
    plain.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if "AuxLogits" not in name})
    image = images(2, 299)
    with torch.no_grad():
        assert torch.equal(model.eval()(image), plain.eval()(image))
        assert torch.equal(copy.deepcopy(model).forward_features(image), plain.forward_features(image))
        logits, auxiliary = model.train()(image)
        assert logits.shape == auxiliary.shape == (2, 3) and not torch.equal(logits, auxiliary)
        assert plain.train()(image).shape == (2, 3)

"""Grad-CAM against CAM where both apply, against hooks on whole networks, and against a derivative taken by hand."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

import sdali.trainers.models.classification.classifiers  # noqa: F401  registers convnet4
from sdali.cams.activation import class_activation_maps, grad_cam
from sdali.pipelines.errors import InputError


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of such small networks would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5, **arguments).eval()


def pictures(size: int, count: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, size, size, generator=generator), torch.arange(count) % 5


def close(found: Tensor, expected: Tensor) -> None:
    """Equal within float32's rounding of the largest cell."""
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.abs().max()) > 0


@pytest.mark.parametrize(("name", "size"), [("convnet4", 48), ("resnet18", 96), ("inception_v3", 139)])
def test_times_the_cells_it_is_cam_behind_average_pooling(name: str, size: int) -> None:
    """There the gradient of the logit is the classifier's weight over the number of cells."""
    model, (images, labels) = network(name), pictures(size)
    maps = class_activation_maps(model, images, labels)
    assert maps[0].numel() > 4
    close(grad_cam(model, images, labels) * maps[0].numel(), maps)


def by_hooks(model: nn.Module, layer: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's output in a whole forward pass, and the gradient of the labels' logits there by a whole backward."""
    kept: list[Tensor] = []

    def keep(_: nn.Module, __: Any, output: Tensor) -> Tensor:
        kept.append(output)
        output.retain_grad()
        return output.clone()

    hook = layer.register_forward_hook(keep)
    model(images)[torch.arange(len(labels)), labels].sum().backward()
    hook.remove()
    model.zero_grad()
    assert kept[0].grad is not None
    return kept[0].detach(), kept[0].grad


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer", "size", "layout"),
    [
        ("vgg11", "features", 96, "b c h w"),  # three layers behind a 7 x 7 convolution
        ("mobilenetv3_small_050", "blocks", 128, "b c h w"),  # convolution and activation behind the pooling
        ("swin_tiny_patch4_window7_224", "norm", 224, "b h w c"),
        ("vit_tiny_patch16_224", "blocks.11.norm1", 224, "b n c"),  # a class token
        ("deit_tiny_distilled_patch16_224", "blocks.11.norm1", 224, "b n c"),  # two of them
    ],
)
def test_equals_hooks_on_the_whole_network(name: str, layer: str, size: int, layout: str) -> None:
    """Cell by cell, in loops over images and channels, with features and gradients that hooks have caught."""
    model, (images, labels) = network(name), pictures(size, 2)
    found = grad_cam(model, images, labels)
    features, gradient = by_hooks(model, model.get_submodule(layer), images, labels)
    if layout == "b n c":
        features, gradient = (x[:, -196:].reshape(2, 14, 14, -1) for x in (features, gradient))
    if layout != "b c h w":
        features, gradient = (torch.movedim(x, 3, 1) for x in (features, gradient))
    for image in range(2):
        expected = torch.zeros(found[image].shape)
        for of_features, of_gradient in zip(features[image], gradient[image], strict=True):
            expected += of_gradient.mean() * of_features
        close(found[image], expected)


def test_tokens_that_are_averaged_lie_on_their_grid() -> None:
    """Without a class token the head reads the mean of the patches, by hand: norm, then a linear layer."""
    model, (images, labels) = network("vit_tiny_patch16_224", global_pool="avg", fc_norm=False), pictures(224, 2)
    with torch.no_grad():
        cells = model.forward_features(images)[:, 1:].reshape(2, 14, 14, 192)
    expected = (cells * model.head.weight[labels][:, None, None]).sum(3) / 196
    close(grad_cam(model, images, labels), expected.detach())


class CubeNet(nn.Module):
    """Features are pixels; scores are W times the cube of their mean."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2, bias=False)

    def forward_features(self, x: Tensor) -> Tensor:
        return x * 1.0

    def forward_head(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)) ** 3)


def test_equals_a_derivative_by_hand() -> None:
    """d (w m^3) / d f = 3 w m^2 / cells, each image by its own mean, in float64."""
    images, labels = torch.randn(4, 3, 5, 7) + 0.5, torch.tensor([0, 1, 1, 0])
    model = CubeNet().eval()
    x, w = images.double(), model.fc.weight.detach().double()[labels]
    expected = (x * (3 * w * x.mean((2, 3)) ** 2 / 35)[:, :, None, None]).sum(1)
    found = grad_cam(model, images, labels)
    assert found.dtype == torch.float32 and found.shape == (4, 5, 7) and not found.requires_grad
    close(found.double(), expected)


@pytest.mark.parametrize(("name", "size"), [("mobilenetv3_small_050", 96), ("vit_tiny_patch16_224", 224)])
def test_a_map_is_its_images_alone(name: str, size: int) -> None:
    """One by one, in a batch, in channels-last order and where gradients are off, the maps are the same."""
    model, (images, labels) = network(name), pictures(size)
    batch = grad_cam(model, images, labels)
    close(torch.cat([grad_cam(model, images[i : i + 1], labels[i : i + 1]) for i in range(3)]), batch)
    with torch.inference_mode():
        close(grad_cam(model, images.clone(), labels), batch)
    with torch.no_grad():
        close(grad_cam(model, images, labels), batch)
    close(grad_cam(model.to(memory_format=torch.channels_last), images, labels), batch)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), [("vgg11", 32), ("vit_tiny_patch16_224", 224)])
def test_nothing_is_left_behind(name: str, size: int) -> None:
    """No gradient in a parameter, no hook, no tensor, and gradients are on as before."""
    model, (images, labels) = network(name), pictures(size, 1)

    def tensors() -> int:
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    grad_cam(model, images, labels)
    before = tensors()
    for _ in range(3):
        grad_cam(model, images, labels)
    assert tensors() == before
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("pit_ti_224", 224, "class token is not that of a last block"),
        ("crossvit_tiny_240", 240, "class token is not that of a last block"),
        ("cait_xxs24_224", 224, "195 tokens are no grid"),
    ],
)
def test_features_on_no_grid_are_refused(name: str, size: int, reason: str) -> None:
    """One sentence names the model, why, and what would do."""
    with pytest.raises(InputError, match=f"{name} has no Grad-CAM: .*{reason}.*; use a network") as caught:
        grad_cam(network(name), *pictures(size, 1))
    assert "\n" not in str(caught.value)


def test_what_cam_refuses_of_any_model_is_refused() -> None:
    """Training mode, labels that do not fit, scores that are not finite, features of other widths."""
    model, images = CubeNet().eval(), torch.randn(1, 3, 4, 4)
    with pytest.raises(InputError, match=r"model.eval\(\)"):
        grad_cam(CubeNet(), images, torch.tensor([0]))
    with pytest.raises(InputError, match="labels from 2 to 2 do not fit CubeNet with 2 classes"):
        grad_cam(model, images, torch.tensor([2]))
    with pytest.raises(InputError, match="not finite"):
        grad_cam(model, images * torch.nan, torch.tensor([0]))
    model.num_features = 7
    with pytest.raises(InputError, match=r"its features \[1, 3, 4, 4\] are not 7 channels of each cell"):
        grad_cam(model, images, torch.tensor([0]))

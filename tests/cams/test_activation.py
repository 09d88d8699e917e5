"""Activation maps against a net whose map is known, against timm's own logits, and refusals where no exact map
exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from sdali.cams.activation import NoExactMap, class_activation_maps, has_exact_map
from sdali.pipelines.errors import InputError

WEIGHT = np.array([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]])
BIAS = np.array([0.25, -1.0])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of such small networks would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class PixelNet(nn.Module):
    """Features are the pixels themselves, so the map is a weighted sum of the colour channels."""

    def __init__(self, *, last: bool = False, squash: bool = False) -> None:
        super().__init__()
        self.fc, self.last, self.squash = nn.Linear(3, 2), last, squash
        self.fc.weight.data, self.fc.bias.data = torch.tensor(WEIGHT).float(), torch.tensor(BIAS).float()

    def forward_features(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1) if self.last else x

    def forward_head(self, x: Tensor) -> Tensor:
        pooled = x.mean((1, 2) if self.last else (2, 3))
        return self.fc(pooled.tanh() if self.squash else pooled)

    def get_classifier(self) -> nn.Module:
        return self.fc


@pytest.mark.parametrize("last", [False, True])
def test_map_of_a_net_known_by_hand(last: bool) -> None:
    """Where features are pixels, M_c = sum over channels of w_c x, in either layout of the features."""
    images, labels = torch.randn(4, 3, 5, 7), torch.tensor([0, 1, 1, 0])
    maps = class_activation_maps(PixelNet(last=last).eval(), images, labels)
    expected = np.einsum("bchw,bc->bhw", images.double().numpy(), WEIGHT[labels.numpy()])
    assert maps.dtype == torch.float32 and maps.shape == (4, 5, 7)
    np.testing.assert_allclose(maps.numpy(), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", 64),
        ("inception_v3", 139),
        ("wide_resnet50_2", 64),
        ("resnetv2_50", 64),
        ("efficientnet_b0", 64),
    ],
)
def test_mean_of_the_map_is_the_logit(name: str, size: int) -> None:
    """mean(M_c) + bias_c equals the logit of the model's whole forward pass, for every class."""
    torch.manual_seed(0)
    model: Any = timm.create_model(name, num_classes=3).eval()
    image, labels = torch.randn(1, 3, size, size), torch.arange(3)
    maps = class_activation_maps(model, image.expand(3, -1, -1, -1), labels)
    with torch.no_grad():
        logits, bias = model(image)[0], model.get_classifier().bias
    torch.testing.assert_close(maps.mean((1, 2)) + bias, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("mobilenetv3_small_050", {}),  # convolution and activation after pooling
        ("convnext_atto", {}),  # norm after pooling
        ("vit_tiny_patch16_224", {}),  # a class token
        ("resnet18", {"global_pool": "max"}),
        ("resnet18", {"global_pool": "catavgmax"}),
        ("resnet18", {"num_classes": 0}),
    ],
)
def test_other_heads_are_refused_by_name(name: str, kwargs: dict) -> None:
    """A model without an exact map is refused in one sentence that names it and says what would do."""
    model = timm.create_model(name, **{"num_classes": 3, **kwargs}).eval()
    size = 224 if name.startswith("vit") else 64
    with pytest.raises(
        NoExactMap, match=f"{name} has no exact activation map: .*; use the method gradcam, or a network with"
    ):
        class_activation_maps(model, torch.randn(2, 3, size, size), torch.tensor([0, 2]))


def test_a_hidden_activation_is_found_by_the_sum_alone() -> None:
    """Same shapes, same classifier, one tanh after the pooling: only the logits tell, and they do."""
    with pytest.raises(InputError, match="another layer stands between"):
        class_activation_maps(PixelNet(squash=True).eval(), torch.randn(2, 3, 4, 4) + 1, torch.tensor([0, 1]))


def test_whether_a_map_is_exact_is_a_property_of_the_model() -> None:
    """Told from noise, before any image is seen; a diverged model is an error, not an answer."""
    assert has_exact_map(PixelNet().eval(), 4) and has_exact_map(PixelNet(last=True).eval(), 8)
    assert not has_exact_map(PixelNet(squash=True).eval(), 4)
    model = PixelNet().eval()
    model.fc.weight.data.fill_(torch.inf)
    with pytest.raises(InputError, match="not finite"):
        has_exact_map(model, 4)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_must_fit_the_classifier(label: int) -> None:
    """A label that the model has no row for is refused with its value, not wrapped around."""
    with pytest.raises(
        InputError, match=f"labels from {min(label, 0)} to {max(label, 0)} do not fit PixelNet with 2 classes"
    ):
        class_activation_maps(PixelNet().eval(), torch.randn(2, 3, 4, 4), torch.tensor([0, label]))


def test_training_mode_is_refused() -> None:
    """Batch statistics would leak between the images of a batch, and the model would be changed."""
    with pytest.raises(InputError, match=r"model.eval\(\)"):
        class_activation_maps(PixelNet(), torch.randn(1, 3, 4, 4), torch.tensor([0]))


def test_scores_that_are_not_finite_are_refused() -> None:
    """A diverged model says so, rather than that its architecture is wrong."""
    with pytest.raises(InputError, match="not finite"):
        class_activation_maps(PixelNet().eval(), torch.full((1, 3, 4, 4), torch.nan), torch.tensor([0]))

"""Mixed Context Network: blocks against convolutions made by hand, and what each cell sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdali.pipelines.errors import InputError
from sdali.trainers.models.parsing.mixed_context import MixedContext, MixedContextBlock, MixedContextConfig

SMALL = MixedContextConfig(channels=6, width=4, dilations=(1, 2, 3))


def with_statistics(network: nn.Module) -> nn.Module:
    """In evaluation, with batch norms that do something."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
            assert layer.running_mean is not None and layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return network.eval()


def by_hand(layers: Any, features: np.ndarray) -> np.ndarray:
    """Convolution, batch norm, ReLU of [C, h, w] in float64, cell by cell."""
    weight = layers[0].weight.detach().double().numpy()
    size, step = weight.shape[-1], layers[0].dilation[0]
    height, width = features.shape[1:]
    out = np.zeros((len(weight), height, width))
    for y in range(height):
        for x in range(width):
            for i in range(size):
                for j in range(size):
                    source = y + step * (i - size // 2), x + step * (j - size // 2)
                    if 0 <= source[0] < height and 0 <= source[1] < width:
                        out[:, y, x] += weight[:, :, i, j] @ features[:, source[0], source[1]]
    mean, variance, scale, shift = (
        tensor.detach().double().numpy()[:, None, None]
        for tensor in (layers[1].running_mean, layers[1].running_var, layers[1].weight, layers[1].bias)
    )
    return np.maximum((out - mean) / np.sqrt(variance + layers[1].eps) * scale + shift, 0)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_block_is_two_convolutions_side_by_side(dilation: int) -> None:
    block: Any = with_statistics(MixedContextBlock(3, 4, dilation))
    features = torch.randn(1, 3, 9, 7)
    array = features[0].double().numpy()
    assert block.context[0].dilation == (dilation, dilation)
    expected = np.concatenate([by_hand(block.point, array), by_hand(block.context, array)])
    np.testing.assert_allclose(block(features)[0].detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_scores_are_a_sum_over_all_blocks() -> None:
    """Each block reads the one before; the classifier has a part for each block."""
    network: Any = with_statistics(MixedContext(5, 2, SMALL))
    features = torch.randn(2, 5, 8, 8)
    with torch.no_grad():
        current, parts = network.reduce(features), []
        for block, weight in zip(network.blocks, network.classifier.weight.split(8, 1), strict=True):
            current = block(current)
            parts.append(nn.functional.conv2d(current, weight))
        expected = sum(parts) + network.classifier.bias[:, None, None]
        torch.testing.assert_close(network(features), expected)


def seen(network: nn.Module, side: int) -> Tensor:
    """Which cells of a side x side map change the scores of the middle one."""
    features = torch.randn(1, 5, side, side, dtype=torch.float64, requires_grad=True)
    network.double()(features)[0, :, side // 2, side // 2].abs().sum().backward()
    assert features.grad is not None
    return features.grad[0].abs().sum(0) > 0


def test_a_cell_sees_the_sum_of_the_dilations() -> None:
    """1 + 2 + 3 cells on each side, and none beyond."""
    for layer in (network := with_statistics(MixedContext(5, 2, SMALL))).modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.bias, 20)  # no ReLU is shut
    rows = seen(network, 17).any(1).nonzero().flatten().tolist()
    assert rows == list(range(8 - 6, 8 + 6 + 1))


def test_the_published_widths() -> None:
    """Of the recipe: 512 channels, blocks of 2 x 256, dilations 1, 2, 4, 8, 16, 1."""
    with torch.device("meta"):
        network = MixedContext(2048, 150, MixedContextConfig())
        assert network(torch.zeros(2, 2048, 60, 60)).shape == (2, 150, 60, 60)
    dilations = [block.context[0].dilation[0] for block in network.blocks]  # type: ignore[union-attr, index]
    assert dilations == [1, 2, 4, 8, 16, 1] and network.classifier.in_channels == 6 * 512


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"width": -1}, "width must be at least 1, got -1"),
        ({"dilations": (1, 0)}, "dilations must be at least 1, got 0"),
        ({"dilations": ()}, "the number of dilations must be at least 1, got 0"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MixedContextConfig(**fields)

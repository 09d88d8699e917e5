"""Mixed Context Network (Hikvision 2016; arXiv 1610.05854): a stack of point-wise and dilated convolutions.

Each block concatenates a 1 x 1 and a dilated 3 x 3 convolution of its input. The outputs of all blocks together give
the scores, so that each cell sees every width of context at once. The published abstract names no widths and dilations:
the defaults are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...core.checks import check_count


@dataclass(frozen=True, kw_only=True)
class MixedContextConfig:
    """Widths and dilations of a Mixed Context Network."""

    channels: int = 512
    """Channels to which a 1 x 1 convolution first reduces the features; two CPU cores can train 128."""

    width: int = 256
    """Channels of each of the two convolutions of a block."""

    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 1)
    """Dilations of the blocks, one for each block. On small maps, such as 23 x 30 cells, a dilation of 16 mostly reads
    padding: use 1, 2, 4, 8."""

    def __post_init__(self) -> None:
        for name in ("channels", "width"):
            check_count(name, getattr(self, name))
        check_count("the number of dilations", len(self.dilations))
        for dilation in self.dilations:
            check_count("dilations", dilation)


class MixedContext(nn.Module):
    """Features [B, inputs, h, w] -> scores [B, classes, h, w]."""

    def __init__(self, inputs: int, classes: int, config: MixedContextConfig) -> None:
        super().__init__()
        self.reduce = convolution(inputs, config.channels, 1)
        widths = [config.channels] + [2 * config.width] * len(config.dilations)
        self.blocks = nn.ModuleList(
            MixedContextBlock(channels, config.width, dilation)
            for channels, dilation in zip(widths, config.dilations, strict=False)
        )
        self.classifier = nn.Conv2d(sum(widths[1:]), classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        features, outputs = self.reduce(features), []
        for block in self.blocks:
            features = block(features)
            outputs.append(features)
        return self.classifier(torch.cat(outputs, 1))


class MixedContextBlock(nn.Module):
    """[B, inputs, h, w] -> [B, 2 width, h, w]: a 1 x 1 and a 3 x 3 convolution of the given dilation, side by side."""

    def __init__(self, inputs: int, width: int, dilation: int) -> None:
        super().__init__()
        self.point = convolution(inputs, width, 1)
        self.context = convolution(inputs, width, 3, dilation)

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self.point(features), self.context(features)], 1)


def convolution(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    """Convolution that keeps height and width, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=dilation * (size // 2), dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )

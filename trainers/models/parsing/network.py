"""Networks of scene parsing: a backbone of output stride 8, a head that scores its cells, and bilinear upsampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ...core.checks import check_choice, check_count, check_share
from ..backbones import parsing_backbone
from .message_passing import MessagePassing, MessagePassingConfig
from .mixed_context import MixedContext, MixedContextConfig, convolution

Head = Literal["fcn", "mcn", "mcn_mpn"]


@dataclass(frozen=True, kw_only=True)
class FullyConvolutionalConfig:
    """The plain head: a 3 x 3 convolution, dropout and a linear layer for each cell."""

    width: int = 512
    """Channels of the 3 x 3 convolution."""

    dropout: float = 0.1
    """Share of the channels that are left out in training."""

    def __post_init__(self) -> None:
        check_count("width", self.width)
        check_share("dropout", self.dropout)


@dataclass(frozen=True, kw_only=True)
class ParsingConfig:
    """A network of scene parsing."""

    backbone: str = "resnet18"
    """A timm network that can have output stride 8, such as resnet18, resnet101 or vgg16. Its weights are random to
    begin with."""

    head: Head = "mcn"
    """fcn: one convolution, the baseline. mcn: a Mixed Context Network. mcn_mpn: the same, then a Message Passing
    Network."""

    auxiliary: bool = False
    """In training, also score the stage before the last, with a head like fcn."""

    fcn: FullyConvolutionalConfig = field(default_factory=FullyConvolutionalConfig)
    """The plain head, with head fcn or auxiliary."""

    mcn: MixedContextConfig = field(default_factory=MixedContextConfig)
    """The Mixed Context Network, with head mcn or mcn_mpn."""

    mpn: MessagePassingConfig = field(default_factory=MessagePassingConfig)
    """The Message Passing Network, with head mcn_mpn."""

    def __post_init__(self) -> None:
        check_choice("head", self.head, Head)


def create_parser(
    config: ParsingConfig, classes: int, *, std: Sequence[float] = (0.229, 0.224, 0.225)
) -> ParsingNetwork:
    """An untrained network; std: of R, G and B on [0, 1], by which the images are divided before they enter.

    Raises InputError for a backbone that timm does not know, or cannot make at output stride 8.
    """
    backbone, (earlier, last) = parsing_backbone(config.backbone)
    head = fcn_head(last, classes, config.fcn) if config.head == "fcn" else MixedContext(last, classes, config.mcn)
    return ParsingNetwork(
        backbone,
        head,
        messages=MessagePassing(classes, config.mpn, std) if config.head == "mcn_mpn" else None,
        auxiliary=fcn_head(earlier, classes, config.fcn) if config.auxiliary else None,
    )


class ParsingNetwork(nn.Module):
    """Normalised images [B, 3, H, W] of any size -> scores float32 [B, classes, H, W].

    In training, with an auxiliary head, (scores, auxiliary scores).
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Module, *, messages: nn.Module | None, auxiliary: nn.Module | None
    ) -> None:
        super().__init__()
        self.backbone, self.head, self.messages, self.auxiliary = backbone, head, messages, auxiliary

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        earlier, last = self.backbone(images)
        scores = self.head(last)
        if self.messages is not None:
            scores = self.messages(scores, images)
        scores = _resized(scores, images)
        if self.auxiliary is None or not self.training:
            return scores
        return scores, _resized(self.auxiliary(earlier), images)


def fcn_head(inputs: int, classes: int, config: FullyConvolutionalConfig) -> nn.Sequential:
    """Features [B, inputs, h, w] -> scores [B, classes, h, w]."""
    return nn.Sequential(
        convolution(inputs, config.width, 3), nn.Dropout(config.dropout), nn.Conv2d(config.width, classes, 1)
    )


def _resized(scores: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(scores.float(), images.shape[2:], mode="bilinear", align_corners=False)

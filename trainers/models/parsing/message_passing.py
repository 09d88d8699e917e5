"""Message Passing Network (Hikvision 2016): similar pixels exchange messages once, where a CRF iterates.

The score map is reduced to a few channels, the channels are averaged by a Gaussian over position and colour of the
image, and a 3 x 3 convolution of both gives the new scores. There is no smoothness term. A CRF filters every class ten
times and keeps all results for its gradient; this network filters once, and at 150 classes a fifth of the channels.

Batch norm and ReLU after the reduction are our choice: raw scores have no fixed scale, and on them the 3 x 3
convolution diverges at learning rates at which all other layers learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....pipelines.errors import InputError
from ...core.checks import check_count
from .mixed_context import convolution
from .permutohedral import Lattice


@dataclass(frozen=True, kw_only=True)
class MessagePassingConfig:
    """Width and bandwidths of a Message Passing Network; the bandwidths are our choice, CRF-RNN's are 160 and 3."""

    channels: int = 32
    """Channels to which a 1 x 1 convolution reduces the scores before they are filtered."""

    position_bandwidth: float = 80.0
    """Standard deviation of the Gaussian over positions, in pixels of the network's input."""

    colour_bandwidth: float = 13.0
    """Standard deviation of the Gaussian over R, G and B, in levels of 0 to 255."""

    def __post_init__(self) -> None:
        check_count("channels", self.channels)
        for name in ("position_bandwidth", "colour_bandwidth"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} must be above 0 and finite, got {getattr(self, name)}")


class MessagePassing(nn.Module):
    """Scores [B, classes, h, w] and normalised images [B, 3, H, W] -> scores [B, classes, h, w].

    std: of R, G and B on [0, 1], by which the images were divided; it is kept with the weights. (The mean cancels, as
    only differences of colour matter.)
    """

    std: Tensor

    def __init__(self, classes: int, config: MessagePassingConfig, std: Sequence[float]) -> None:
        super().__init__()
        self.config = config
        self.reduce = convolution(classes, config.channels, 1)
        self.classifier = nn.Conv2d(2 * config.channels, classes, 3, padding=1)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(3, 1, 1))

    def forward(self, scores: Tensor, images: Tensor) -> Tensor:
        reduced = self.reduce(scores)
        messages = Lattice(self.features(images, scores.shape[2], scores.shape[3])).mean(reduced)
        return self.classifier(torch.cat([reduced, messages.to(reduced.dtype)], 1))

    @torch.no_grad()
    def features(self, images: Tensor, height: int, width: int) -> Tensor:
        """The centre y, x and the mean R, G, B of each cell, in units of the bandwidths: [B, 5, height, width].

        Positions are in pixels of the images, so no stride needs to be known.
        """
        colour = F.interpolate(images.float(), (height, width), mode="area") * (255 * self.std)
        y = (torch.arange(height, device=images.device) + 0.5) * (images.shape[2] / height)
        x = (torch.arange(width, device=images.device) + 0.5) * (images.shape[3] / width)
        position = torch.stack(torch.meshgrid(y, x, indexing="ij")).expand(len(images), -1, -1, -1)
        return torch.cat([position / self.config.position_bandwidth, colour / self.config.colour_bandwidth], 1)

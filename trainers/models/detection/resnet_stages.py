"""Backbones of detectors: a timm ResNet whose stages can be run apart, under the names of its weights in a classifier.

Networks with identity mappings (He et al. 2016, timm's resnetv2) norm and activate at the start of each block: a
stage's output is a raw sum there, which the next stage takes as it is, and anything else only after a norm.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.layers import freeze_batch_norm_2d  # type: ignore[attr-defined]
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from ....pipelines.errors import InputError
from ..classification.classifiers import check_known


class ResNetStages(nn.Module):
    """An untrained timm ResNet without its classifier, `network`.

    `frozen`: its batch norms use their statistics, scale and shift as they are loaded and learn nothing; of random
    weights that makes no sense.

    Raises InputError for a name that timm does not know, or that is no ResNet of four stages.
    """

    def __init__(self, name: str, frozen: bool = False) -> None:
        super().__init__()
        check_known(name)
        network = timm.create_model(name, num_classes=0)
        if not isinstance(network, ResNet | ResNetV2) or len(network.feature_info) != 5:
            raise InputError(f"detectors stand on ResNets, and {name} is none; use one, such as resnet18, resnetv2_50")
        # Any: the types of torch take every attribute of a module for a tensor.
        self.network: Any = freeze_batch_norm_2d(network) if frozen else network
        info: Any = network.feature_info
        self.channels: list[int] = [stage["num_chs"] for stage in info[1:]]
        """Of the outputs of the four stages, at strides 4, 8, 16 and 32."""
        self.second = isinstance(network, ResNetV2)
        self.identity_mappings = self.second and not isinstance(network.norm, nn.Identity)

    def forward(self, images: Tensor, stages: int) -> list[Tensor]:
        """Images [B, 3, H, W] -> outputs of the first stages; the last of four is normed, as in a classifier."""
        network = self.network
        if self.second:
            features = network.stem(images)
            layers = list(network.stages)
        else:
            features = network.maxpool(network.act1(network.bn1(network.conv1(images))))
            layers = [network.layer1, network.layer2, network.layer3, network.layer4]
        outputs = []
        for layer in layers[:stages]:
            features = layer(features)
            outputs.append(features)
        if stages == 4 and self.identity_mappings:
            outputs[3] = network.norm(outputs[3])
        return outputs

    @property
    def conv5(self) -> nn.Module:
        """The last stage, and the norm after it where there is one: the head of a region; shared, not a copy."""
        network = self.network
        return nn.Sequential(network.stages[-1], network.norm) if self.second else network.layer4

    def norm(self, stage: int) -> nn.Module:
        """A new norm for what else uses the output of that stage, 0 to 2, if that is a raw sum."""
        if not self.identity_mappings:
            return nn.Identity()
        return nn.Sequential(nn.BatchNorm2d(self.channels[stage]), nn.ReLU())

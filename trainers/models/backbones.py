"""Backbones of scene parsing and detection: timm's networks, taken apart as these tasks need them.

Every backbone keeps the shapes of the timm classifier of the same name, and nearly all keep the names, so that the
weights of a trained classifier fit. timm's features_only renames those of ResNetV2, ConvNeXt, Xception, CSPNet, DarkNet
and NFNet, whose classifiers do not fit for scene parsing yet. To add a backbone, write a class like `DilatedVGG` or
`ResNetStages` here and return it from `parsing_backbone` or `detection_backbone`; nothing else knows which network it
is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import timm
from timm.layers import freeze_batch_norm_2d  # type: ignore[attr-defined]
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from torch import Tensor, nn

from ...pipelines.errors import InputError
from .classification.classifiers import check_known, reason_of


def parsing_backbone(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """An untrained timm network whose last strides are replaced by dilation, so that its output stride is 8.

    It turns images [B, 3, H, W] into the feature maps of its last two stages, [B, C, H / 8, W / 8] each; returned with
    the channels of both. Raises InputError where timm does not know the name, or cannot make it at output stride 8.
    """
    check_known(name)
    if name.startswith("vgg"):
        network = DilatedVGG(name)
        channels = [layer.out_channels for layer in network.features if isinstance(layer, nn.Conv2d)]
        return network, (channels[-1], channels[-1])
    try:
        network = timm.create_model(name, features_only=True, output_stride=8, out_indices=(-2, -1))
        about: Any = network.feature_info
        strides, channels = about.reduction(), about.channels()
        reason = None if strides == [8, 8] else f"its last strides are {strides}"
    except Exception as error:  # whatever the network's code raises for arguments that it did not expect
        reason = reason_of(error)
    if reason is not None:
        raise InputError(
            f"timm cannot make {name} with feature maps at output stride 8 ({reason}); use a ResNet, such as resnet50, "
            "or vgg16"
        )
    return network, (channels[0], channels[1])


class DilatedVGG(nn.Module):
    """VGG without its last two poolings and its classifier: images -> the outputs of conv4 and conv5 at stride 8.

    The convolutions after the first removed pooling are dilated by 2. timm's VGG has output stride 32 only.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        # timm makes the classifier's 100 million weights too; this ratio leaves few of them.
        self.features: nn.Sequential = timm.create_model(name, num_classes=0, mlp_ratio=1 / 4096).features  # type: ignore[assignment]
        pools = [number for number, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        self.split = pools[3]
        for number in pools[3:]:
            self.features[number] = nn.Identity()  # later layers keep their numbers, and so the names of their weights
        for layer in self.features[self.split :]:
            if isinstance(layer, nn.Conv2d):
                layer.dilation = layer.padding = (2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        earlier = self.features[: self.split](images)
        return [earlier, self.features[self.split :](earlier)]


def detection_backbone(name: str, frozen: bool = False) -> ResNetStages:
    """An untrained timm ResNet of four stages, such as resnet18 or resnetv2_50, whose stages can be run apart.

    frozen: its batch norms keep the statistics, scale and shift that are loaded, and learn nothing; only sensible where
    trained weights are loaded. Raises InputError for a name that timm does not know, and for another network.
    """
    check_known(name)
    network = timm.create_model(name, num_classes=0)
    if not isinstance(network, ResNet | ResNetV2) or len(network.feature_info) != 5:
        raise InputError(f"the backbone of a detector must be a ResNet, got {name}; use resnet18 or resnetv2_50, say")
    return ResNetStages(network, frozen)


class ResNetStages(nn.Module):
    """A timm ResNet without its classifier, as `network`, of which a detector uses the members documented here.

    Networks with identity mappings (He et al. 2016, timm's resnetv2) normalise and activate at the start of each block:
    a stage's output is then a raw sum, which the next stage takes as it is, and everything else only after a norm.
    """

    def __init__(self, network: ResNet | ResNetV2, frozen: bool = False) -> None:
        super().__init__()
        # Any: the types of torch take every attribute of a module for a tensor.
        self.network: Any = freeze_batch_norm_2d(network) if frozen else network
        info: Any = network.feature_info
        self.channels: list[int] = [stage["num_chs"] for stage in info[1:]]
        """Channels of the outputs of the four stages, at strides 4, 8, 16 and 32."""
        self.second = isinstance(network, ResNetV2)
        self.identity_mappings = self.second and not isinstance(network.norm, nn.Identity)

    def forward(self, images: Tensor, stages: int) -> list[Tensor]:
        """Images [B, 3, H, W] -> outputs of the first `stages` stages; the fourth is normed, as in a classifier."""
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
        """The last stage, and the norm after it where there is one: the head of each region. Shared, not a copy."""
        network = self.network
        return nn.Sequential(network.stages[-1], network.norm) if self.second else network.layer4

    def norm(self, stage: int) -> nn.Module:
        """A new norm for what reads the output of that stage, 0 to 2, besides the next stage; identity if not raw."""
        if not self.identity_mappings:
            return nn.Identity()
        return nn.Sequential(nn.BatchNorm2d(self.channels[stage]), nn.ReLU())


class Taken(NamedTuple):
    """Which entries of a state_dict a network has taken, by name."""

    taken: list[str]
    left: list[str]
    """The network has no weight of that name, or one of another shape."""


def load_matching(model: nn.Module, state_dict: Mapping[str, Tensor]) -> Taken:
    """Load the entries that the network has by name and shape; its other weights stay as they are.

    Only shapes tell the classes of two networks apart: a last layer for equally many other classes is loaded too.
    """
    wanted = model.state_dict()
    taken = {name: value for name, value in state_dict.items() if name in wanted and wanted[name].shape == value.shape}
    model.load_state_dict(taken, strict=False)
    return Taken(list(taken), [name for name in state_dict if name not in taken])

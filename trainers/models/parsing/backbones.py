"""Backbones of dense prediction: timm's networks with their last strides given up for dilation, at output stride 8."""

from __future__ import annotations

from typing import Any

import timm
from torch import Tensor, nn

from ....pipelines.errors import InputError
from ..classification.classifiers import check_known


def create_backbone(name: str) -> tuple[nn.Module, tuple[int, int]]:
    """An untrained network, images [B, 3, H, W] -> the feature maps of its last two stages, and their channels.

    Both maps have a cell for 8 x 8 pixels. Parameters have the names and shapes of the timm classifier of that name, so
    its weights fit, but for those after the features.

    Raises InputError for a name that timm does not know, or a network that it cannot make at output stride 8.
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
    except Exception as error:  # whatever the model's own code makes of arguments that it did not expect
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise _refused(name, reason) from None
    if strides != [8, 8]:
        raise _refused(name, f"its last strides are {strides}")
    return network, (channels[0], channels[1])


class DilatedVGG(nn.Module):
    """VGG without its last two poolings and its classifier; the convolutions after the first of those are dilated by 2.

    timm's own has output stride 32 only. Images -> the outputs of conv4 and conv5.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        # timm makes the classifier's 100 million weights too; this leaves few of them.
        self.features: nn.Sequential = timm.create_model(name, num_classes=0, mlp_ratio=1 / 4096).features  # type: ignore[assignment]
        pools = [place for place, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        self.split = pools[3]
        for place in pools[3:]:
            self.features[place] = nn.Identity()  # later layers keep their numbers, and so the names of their weights
        for layer in self.features[self.split :]:
            if isinstance(layer, nn.Conv2d):
                layer.dilation = layer.padding = (2, 2)

    def forward(self, images: Tensor) -> list[Tensor]:
        earlier = self.features[: self.split](images)
        return [earlier, self.features[self.split :](earlier)]


def _refused(name: str, reason: str) -> InputError:
    return InputError(
        f"timm cannot make {name} with feature maps at output stride 8 ({reason}); use a ResNet, such as resnet50, "
        "or vgg16"
    )

"""Classifiers: any timm model by name, and `convnet4`, a small one for CPUs, registered with timm."""

from __future__ import annotations

import difflib
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import register_model
from timm.models.inception_v3 import InceptionV3
from torch import Tensor, nn

from ....pipelines.errors import InputError
from .arguments import format_arguments


def create_classifier(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    """An untrained timm model; `arguments` are passed to timm.

    Raises InputError for a name that timm does not know, or arguments that the model does not take.
    """
    check_known(name)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=num_classes, **arguments)
    except Exception as error:  # whatever the model's code raises for a value that it did not expect
        if not arguments:
            raise
        raise InputError(
            f"timm cannot make {name} with {format_arguments(arguments)} ({reason_of(error)}); give arguments that it "
            "takes"
        ) from None
    if isinstance(model, InceptionV3):
        model.__class__ = InceptionV3Auxiliary  # timm offers no way to have it build another class
    return model


def check_known(name: str) -> None:
    """Raise InputError, with close names where there are any, for a name that timm does not know."""
    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), 3)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise InputError(f"timm has no model called {name!r}; {hint}")


def reason_of(error: Exception) -> str:
    """The first line of an exception's message, or its type where it has none: for a sentence of our own."""
    return next(iter(str(error).splitlines()), type(error).__name__)


class InceptionV3Auxiliary(InceptionV3):
    """timm's Inception-v3 with an auxiliary head that works in training only, as its authors have it.

    Images [B, 3, H, W] -> logits [B, K]; in training (logits, auxiliary logits) if made with aux_logits=True. timm's
    class gives both in evaluation too, where callers of a classifier expect one tensor.
    """

    def train(self, mode: bool = True) -> InceptionV3Auxiliary:
        super().train(mode)
        self.aux_logits = mode and self.AuxLogits is not None
        return self


# Factor on torch's initial weights. After 20 epochs on 1,200 generated scenes, with two seeds, a gain of 0 gave a top-1
# of 0.54 and 0.41, a gain of 3 gave 0.78 and 0.68; a gain of 10 was as good as 3, and crops guided by its maps missed
# the object less often (one seed).
HEAD_GAIN = 10.0


class ConvNet4(nn.Module):
    """Four 3 x 3 convolutions with batch norm and ReLU at stride 8, average pooling and one linear layer.

    Images float [B, 3, H, W] -> logits [B, num_classes]. At 96 px its class activation map has 12 x 12 cells. Sizes and
    initial weights are our choice, made for small objects: see `linear_head`.
    """

    def __init__(
        self, num_classes: int = 1000, in_chans: int = 3, widths: tuple[int, ...] = (32, 64, 128, 192)
    ) -> None:
        super().__init__()
        self.num_classes, self.num_features = num_classes, widths[-1]
        self.features = nn.Sequential()
        for inputs, outputs, stride in zip((in_chans, *widths), widths, (2, 2, 2, 1), strict=False):
            self.features.append(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False))
            self.features.append(nn.BatchNorm2d(outputs))
            self.features.append(nn.ReLU(inplace=True))
        self.classifier = linear_head(self.num_features, num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """[B, 192, H / 8, W / 8]."""
        return self.features(images)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features [B, 192] if pre_logits, else logits [B, num_classes]."""
        pooled = F.adaptive_avg_pool2d(features, 1).flatten(1)
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(images))

    def get_classifier(self) -> nn.Module:
        """The linear layer; identity for 0 classes."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the linear layer by an untrained one."""
        self.num_classes = num_classes
        self.classifier = linear_head(self.num_features, num_classes)


def linear_head(inputs: int, num_classes: int) -> nn.Module:
    """The last layer, untrained; for 0 classes there is none (identity), as in timm.

    The weights start large, because average pooling makes a small object's evidence faint. Their sum over the classes
    starts at 0 and stays there, as that of cross-entropy's gradients is 0: so activation maps have no offset that all
    classes share.
    """
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(inputs, num_classes)
    with torch.no_grad():
        head.weight.mul_(HEAD_GAIN).sub_(head.weight.mean(0))
    return head


@register_model
def convnet4(pretrained: bool = False, **arguments: Any) -> ConvNet4:
    """The entry point that timm.create_model calls; there are no pretrained weights."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        arguments.pop(name, None)
    return ConvNet4(**arguments)

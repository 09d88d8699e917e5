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
from .inception import InceptionV3Auxiliary


def create_classifier(name: str, num_classes: int, **arguments: Any) -> nn.Module:
    """An untrained timm model; `arguments` go to timm.

    Raises InputError for a name that timm does not know, or arguments that the model does not take.
    """
    check_known(name)
    try:
        model = timm.create_model(name, pretrained=False, num_classes=num_classes, **arguments)
    except Exception as error:  # whatever the model's own code makes of a value that it did not expect
        if not arguments:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"timm cannot make {name} with {format_arguments(arguments)} ({reason}); give arguments that it takes"
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


# Of torch's initial weights. After 20 epochs on 1,200 generated scenes, two seeds, a gain of 0 gave a top-1 of 0.54 and
# 0.41, a gain of 3 gave 0.78 and 0.68; 10 was as right as 3 and its maps missed less (one seed).
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
        """The linear layer, or identity where there are no classes."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Another, untrained linear layer."""
        self.num_classes = num_classes
        self.classifier = linear_head(self.num_features, num_classes)


def linear_head(inputs: int, num_classes: int) -> nn.Module:
    """The last layer, untrained; as in timm, none (identity) for 0 classes.

    Pooling spreads a small object's evidence thin, so the weights start large. They start with sum 0 over the classes,
    as cross-entropy's gradients have it: activation maps then start without an offset that all classes share.
    """
    if num_classes == 0:
        return nn.Identity()
    head = nn.Linear(inputs, num_classes)
    with torch.no_grad():
        head.weight.mul_(HEAD_GAIN).sub_(head.weight.mean(0))
    return head


@register_model
def convnet4(pretrained: bool = False, **arguments: Any) -> ConvNet4:
    """timm's entry point; there are no pretrained weights."""
    for name in ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"):
        arguments.pop(name, None)
    return ConvNet4(**arguments)

"""Class activation maps: where in the image a classifier sees the class.

For a network that ends in global average pooling and one linear layer, the class score is the mean over cells of a map,
plus a bias, so that map is read off exactly in the forward pass (CAM: Zhou et al., CVPR 2016):

    M_c(y, x) = sum_k w_kc f_k(y, x)          mean(M_c) + bias_c = logit_c

Whether a model ends that way is not looked up in a list: the right-hand equation is checked on every batch, against the
logits of the model's own head. A norm, activation or convolution between features and pooling breaks it, and the model
is refused: Grad-CAM (grad_cam.py) is for those.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import InputError

# Of the sum of absolute contributions to a logit. Of 33 networks of timm, those with an exact map err by less than 1e-7
# in float32, the others by more than 1e-2; TF32 lies between.
TOLERANCE = 1e-3


class NoExactMap(InputError):
    """The model does not end in average pooling and one linear layer."""


def check_exact_map(model: nn.Module, size: int) -> None:
    """Raise what `class_activation_maps` would: tried on two images of noise, the same whenever it is asked.

    size: side of the network's input in pixels.
    """
    noise = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    device = next(model.parameters()).device
    class_activation_maps(model, noise.to(device), torch.zeros(2, dtype=torch.int64, device=device))


def has_exact_map(model: nn.Module, size: int) -> bool:
    """Whether `class_activation_maps` takes the model; raises InputError where its scores are not finite."""
    try:
        check_exact_map(model, size)
    except NoExactMap:
        return False
    return True


@torch.inference_mode()
def class_activation_maps(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The map of each image's class, exact, from one forward pass.

    Args:
        model: a timm classifier in evaluation mode: `forward_features`, `forward_head`, `get_classifier` (linear or 1 x
            1 convolution); features [B, C, h, w], or [B, h, w, C] as Swin has them.
        images: float [B, 3, S, S], normalised, on the model's device.
        labels: int64 [B], each below the model's number of classes.

    Returns:
        float32 [B, h, w], signed, unscaled.

    Raises:
        NoExactMap: the model does not end in average pooling and one linear layer.
        InputError: it is in training mode, a label does not fit it, or its scores are not finite.
    """
    network: Any = model  # nn.Module types every attribute as a tensor or module
    check_evaluating(model)
    weight, bias = _linear_head(network)
    check_labels(labels, len(weight), model)
    features = network.forward_features(images)
    cells = _channels_first(features, weight.shape[1], model)
    weight, bias = weight[labels], bias[labels]
    maps = torch.einsum("bchw,bc->bhw", cells, weight)
    logits = network.forward_head(features).float().gather(1, labels[:, None])[:, 0]
    check_finite(logits, model)
    scale = torch.einsum("bchw,bc->bhw", cells.abs(), weight.abs()).mean((1, 2))
    _check_sum(maps.mean((1, 2)) + bias, logits, scale, model)
    return maps


def model_name(model: nn.Module) -> str:
    """What timm calls the model, or else its class."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return config.get("architecture") or type(model).__name__


def check_evaluating(model: nn.Module) -> None:
    """Raise InputError for a model in training mode, whose maps would depend on the rest of the batch."""
    if model.training:
        raise InputError(
            f"{model_name(model)} is in training mode: call model.eval() before activation maps are computed"
        )


def check_labels(labels: Tensor, classes: int, model: nn.Module) -> None:
    """Raise InputError for a label that the model has no score for."""
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels from {int(labels.min())} to {int(labels.max())} do not fit {model_name(model)} with {classes} "
            "classes: give a model trained on these classes, and images that all have one"
        )


def check_finite(logits: Tensor, model: nn.Module) -> None:
    """Raise InputError for scores that are infinite or not a number."""
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"{model_name(model)} gives scores that are not finite: its training has diverged, train it again"
        )


def _linear_head(model: Any) -> tuple[Tensor, Tensor]:
    """float32 weights [classes, C] and biases [classes] of the last layer."""
    head: Any = model.get_classifier() if hasattr(model, "get_classifier") else None
    pointwise = isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1
    if not (isinstance(head, nn.Linear) or pointwise):
        raise _refused(model, f"its classifier is {type(head).__name__}, not one linear layer")
    weight = head.weight.flatten(1).float()
    return weight, weight.new_zeros(len(weight)) if head.bias is None else head.bias.float()


def _channels_first(features: Tensor, channels: int, model: nn.Module) -> Tensor:
    """Features as float32 [B, C, h, w]; where both layouts fit, the check of the sum decides."""
    if isinstance(features, Tensor) and features.ndim == 4:
        if features.shape[1] == channels:
            return features.float()
        if features.shape[3] == channels:
            return features.permute(0, 3, 1, 2).float()
    shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
    raise _refused(model, f"its features {shape} do not meet its classifier of {channels} channels cell by cell")


def _check_sum(sums: Tensor, logits: Tensor, scale: Tensor, model: nn.Module) -> None:
    if bool(((sums - logits).abs() > TOLERANCE * scale + 1e-6).any()):
        raise _refused(model, "another layer stands between its features, their average and its classifier")


def _refused(model: nn.Module, reason: str) -> NoExactMap:
    return NoExactMap(
        f"{model_name(model)} has no exact activation map: {reason}; use --method gradcam, or a network with global "
        "average pooling and one linear layer, such as resnet18 or inception_v3"
    )

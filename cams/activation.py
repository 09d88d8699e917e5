"""Activation maps of a classifier: where in the image it sees a class, by CAM or by Grad-CAM.

CAM (Zhou et al., CVPR 2016): in a network that ends in global average pooling and one linear layer, the score of class
c is the mean over cells of a map, plus a bias. That map is therefore exact, and read off in the forward pass:

    M_c(y, x) = sum_k w_kc f_k(y, x)          mean(M_c) + bias_c = logit_c

Whether a model ends that way is not looked up in a list: the right-hand equation is checked on every batch, against the
logits of the model's head. A norm, activation or convolution between features and pooling breaks it.

Grad-CAM (Selvaraju et al., ICCV 2017) is for the other networks. The channels are weighted by the gradient of the
class's logit, averaged over the cells:

    w_k = mean over (y, x) of d logit_c / d f_k(y, x)          M_c(y, x) = sum_k w_k f_k(y, x)

Behind average pooling and one linear layer this is CAM divided by the number of cells. The paper's ReLU is left to
`quantise`, which drops negative values. f is what `forward_features` returns. A head that reads a class token alone has
no gradient there in the patches, so for it f is the normalised input of the last block's attention.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import InputError

# Relative to the sum of the absolute contributions to a logit. Of 33 networks of timm, those with an exact map err by
# less than 1e-7 in float32, the others by more than 1e-2; TF32 lies between.
TOLERANCE = 1e-3


class NoExactMap(InputError):
    """The model does not end in average pooling and one linear layer."""


def check_exact_map(model: nn.Module, size: int) -> None:
    """Try `class_activation_maps` on two images of noise, always the same, and raise what it raises.

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
    """CAM: the exact map of each image's class, from one forward pass.

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
    _check_evaluating(model)
    weight, bias = _linear_head(network)
    _check_labels(labels, len(weight), model)
    features = network.forward_features(images)
    cells = _channels_first(features, weight.shape[1])
    if cells is None:
        shape = list(features.shape) if isinstance(features, Tensor) else type(features).__name__
        reason = f"its features {shape} do not meet its classifier of {weight.shape[1]} channels cell by cell"
        raise _no_exact_map(model, reason)
    weight, bias = weight[labels], bias[labels]
    maps = torch.einsum("bchw,bc->bhw", cells, weight)
    logits = network.forward_head(features).float().gather(1, labels[:, None])[:, 0]
    _check_finite(logits, model)
    scale = torch.einsum("bchw,bc->bhw", cells.abs(), weight.abs()).mean((1, 2))
    if bool(((maps.mean((1, 2)) + bias - logits).abs() > TOLERANCE * scale + 1e-6).any()):
        raise _no_exact_map(model, "another layer stands between its features, their average and its classifier")
    return maps


@torch.inference_mode(False)
@torch.enable_grad()
def grad_cam(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Grad-CAM: the map of each image's class, from one forward pass and the head's backward pass.

    Arguments and result are those of `class_activation_maps`; any head will do, and features may also be tokens
    [B, prefix + h * w, C] on the grid of the model's patches, or else on a square grid (ViT). No parameter gets a
    gradient. Raises InputError for a model in training mode, a label that does not fit it, features that lie on no
    grid, and scores that are not finite.
    """
    _check_evaluating(model)
    of_class_token = getattr(model, "global_pool", None) == "token"
    features, logits = (_at_last_attention if of_class_token else _at_features)(model, images)
    _check_labels(labels, logits.shape[1], model)
    _check_finite(logits, model)
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), features)
    weight = _cells(gradient, model).mean((2, 3))
    return torch.einsum("bchw,bc->bhw", _cells(features.detach(), model), weight)


def model_name(model: nn.Module) -> str:
    """timm's name of the model, or else the name of its class."""
    config = getattr(model, "pretrained_cfg", None) or {}
    return config.get("architecture") or type(model).__name__


def _check_evaluating(model: nn.Module) -> None:
    """Raise InputError for a model in training mode, whose maps would depend on the rest of the batch."""
    if model.training:
        raise InputError(
            f"{model_name(model)} is in training mode: call model.eval() before activation maps are computed"
        )


def _check_labels(labels: Tensor, classes: int, model: nn.Module) -> None:
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise InputError(
            f"labels from {int(labels.min())} to {int(labels.max())} do not fit {model_name(model)} with {classes} "
            "classes: give a model trained on these classes, and images that all have one"
        )


def _check_finite(logits: Tensor, model: nn.Module) -> None:
    if not bool(torch.isfinite(logits).all()):
        raise InputError(
            f"{model_name(model)} gives scores that are not finite: its training has diverged, train it again"
        )


def _linear_head(model: Any) -> tuple[Tensor, Tensor]:
    """float32 weights [classes, C] and biases [classes] of the last layer."""
    head: Any = model.get_classifier() if hasattr(model, "get_classifier") else None
    pointwise = isinstance(head, nn.Conv2d) and head.kernel_size == (1, 1) and head.groups == 1
    if not (isinstance(head, nn.Linear) or pointwise):
        raise _no_exact_map(model, f"its classifier is {type(head).__name__}, not one linear layer")
    weight = head.weight.flatten(1).float()
    return weight, weight.new_zeros(len(weight)) if head.bias is None else head.bias.float()


def _channels_first(features: Any, channels: int | None) -> Tensor | None:
    """Features [B, C, h, w] or [B, h, w, C] as float32 [B, C, h, w]; None for others."""
    if isinstance(features, Tensor) and features.ndim == 4:
        if features.shape[1] == channels:  # where both layouts fit, the check of CAM's sum decides
            return features.float()
        if features.shape[3] == channels:
            return features.permute(0, 3, 1, 2).float()
    return None


def _no_exact_map(model: nn.Module, reason: str) -> NoExactMap:
    return NoExactMap(
        f"{model_name(model)} has no exact activation map: {reason}; use the method gradcam, or a network with global "
        "average pooling and one linear layer, such as resnet18 or inception_v3"
    )


def _at_features(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """The features, as a leaf of the graph, and the logits that the head makes of them."""
    with torch.no_grad():
        features = model.forward_features(images)
    if not isinstance(features, Tensor):
        raise _no_grad_cam(model, f"its features are a {type(features).__name__}, not one tensor")
    _cells(features, model)  # raises before the head is run
    features.requires_grad_()
    return features, model.forward_head(features.clone())  # a leaf must not be changed in place, as ReLUs do


def _at_last_attention(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """The input of the last block's attention, as a leaf of the graph, and the logits."""
    attention = getattr(model.blocks[-1], "attn", None) if hasattr(model, "blocks") else None
    if attention is None:
        raise _no_grad_cam(model, "its class token is not that of a last block with attention")
    leaves: list[Tensor] = []

    def begin_graph(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        torch.set_grad_enabled(True)
        leaves.append(inputs[0].detach().requires_grad_())
        return (leaves[0], *inputs[1:])

    hook = attention.register_forward_pre_hook(begin_graph)
    try:
        with torch.no_grad():  # up to the hook, and again afterwards
            logits = model(images)
    finally:
        hook.remove()
    return leaves[0], logits


def _cells(features: Tensor, model: Any) -> Tensor:
    """Features as float32 [B, C, h, w], without class and other prefix tokens."""
    channels, shape = getattr(model, "num_features", None), tuple(features.shape)
    if len(shape) == 3 and shape[2] == channels:
        tokens = features[:, getattr(model, "num_prefix_tokens", 0) :]
        return tokens.transpose(1, 2).unflatten(2, _grid(tokens.shape[1], model)).float()
    cells = _channels_first(features, channels)
    if cells is None:
        raise _no_grad_cam(model, f"its features {list(shape)} are not {channels} channels of each cell")
    return cells


def _grid(tokens: int, model: Any) -> tuple[int, int]:
    """Height and width of the grid of tokens: those of the patches, or else of a square, as the image is square."""
    height, width = getattr(getattr(model, "patch_embed", None), "grid_size", None) or (0, 0)
    if height * width == tokens:
        return height, width
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise _no_grad_cam(model, f"its {tokens} tokens are no grid of cells")
    return side, side


def _no_grad_cam(model: nn.Module, reason: str) -> InputError:
    return InputError(
        f"{model_name(model)} has no Grad-CAM: {reason}; use a network with a feature map before its head, such as "
        "resnet18, vgg11 or vit_tiny_patch16_224"
    )

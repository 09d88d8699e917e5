"""Grad-CAM: where in the image a classifier sees the class, for networks whose head lets no exact map be read off.

The gradient of the class's logit, averaged over the cells, weighs the channels (Selvaraju et al., ICCV 2017):

    w_k = mean over (y, x) of d logit_c / d f_k(y, x)          M_c(y, x) = sum_k w_k f_k(y, x)

Behind average pooling and one linear layer this is CAM divided by the number of cells. The paper's ReLU is left to
`quantise`, which drops what is negative. f is what `forward_features` gives; but a head that reads a class token alone
has no gradient there in the patches, so f is then what the last block's attention reads, its normalised input.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..pipelines.errors import InputError
from .activation import check_evaluating, check_finite, check_labels, model_name


@torch.inference_mode(False)
@torch.enable_grad()
def grad_cam(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """The map of each image's class, from one forward pass and the head's backward pass; no parameter gets a gradient.

    Args:
        model: a timm classifier in evaluation mode, with features [B, C, h, w], [B, h, w, C] (Swin), or tokens
            [B, prefix + h * w, C] on the grid of its patches or else a square one (ViT).
        images: float [B, 3, S, S], normalised, on the model's device.
        labels: int64 [B], each below the model's number of classes.

    Returns:
        float32 [B, h, w], signed, unscaled.

    Raises:
        InputError: the model's features lie on no grid, or its scores are not finite.
    """
    check_evaluating(model)
    of_class_token = getattr(model, "global_pool", None) == "token"
    features, logits = (_at_last_attention if of_class_token else _at_features)(model, images)
    check_labels(labels, logits.shape[1], model)
    check_finite(logits, model)
    (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), features)
    weight = _channels_first(gradient, model).mean((2, 3))
    return torch.einsum("bchw,bc->bhw", _channels_first(features.detach(), model), weight)


def _at_features(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the head reads, as a leaf of the graph, and the logits."""
    with torch.no_grad():
        features = model.forward_features(images)
    if not isinstance(features, Tensor):
        raise _refused(model, f"its features are a {type(features).__name__}, not one tensor")
    _channels_first(features, model)  # refuses before the head is run
    features.requires_grad_()
    return features, model.forward_head(features.clone())  # a leaf must not be changed in place, as ReLUs do


def _at_last_attention(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """What the last block's attention reads, as a leaf of the graph, and the logits."""
    attention = getattr(model.blocks[-1], "attn", None) if hasattr(model, "blocks") else None
    if attention is None:
        raise _refused(model, "its class token is not that of a last block with attention")
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


def _channels_first(features: Tensor, model: Any) -> Tensor:
    """Features as float32 [B, C, h, w], without class and other prefix tokens."""
    channels, shape = getattr(model, "num_features", None), tuple(features.shape)
    if len(shape) == 3 and shape[2] == channels:
        tokens = features[:, getattr(model, "num_prefix_tokens", 0) :]
        return tokens.transpose(1, 2).unflatten(2, _grid(tokens.shape[1], model)).float()
    if len(shape) == 4 and shape[1] == channels:
        return features.float()
    if len(shape) == 4 and shape[3] == channels:
        return features.permute(0, 3, 1, 2).float()
    raise _refused(model, f"its features {list(shape)} are not {channels} channels of each cell")


def _grid(tokens: int, model: Any) -> tuple[int, int]:
    """h and w of the cells: those of the patches, else a square of them, as a square image has."""
    height, width = getattr(getattr(model, "patch_embed", None), "grid_size", None) or (0, 0)
    if height * width == tokens:
        return height, width
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise _refused(model, f"its {tokens} tokens are no grid of cells")
    return side, side


def _refused(model: nn.Module, reason: str) -> InputError:
    return InputError(
        f"{model_name(model)} has no Grad-CAM: {reason}; use a network with a feature map before its head, such as "
        "resnet18, vgg11 or vit_tiny_patch16_224"
    )

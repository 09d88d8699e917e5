"""The colour stage as one affine map a sample: jitter, PCA lighting and normalisation in one 3 x 5 matrix.

With fb.resnet.torch's definitions (transforms.lua) and no clamping, brightness b, contrast c and saturation s commute:

    b * (c * (s * x + (1 - s) * grey(x)) + (1 - c) * mean_grey)        grey = 0.299 R + 0.587 G + 0.114 B

because grey() leaves grey pixels alone and its weights sum to one. Lighting adds a vector, normalisation is affine. So
one matrix applied to the column (R, G, B, mean_grey, 1) does it all in one pass; mean_grey is that of the resized
window, which is why it is a column and not part of the offset. The matrix takes pixels of 0 to 255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config import Colour
from ..store.statistics import Statistics
from .random_words import normals

if TYPE_CHECKING:  # planning needs no torch
    import torch

GREY = np.array([0.299, 0.587, 0.114])
WORDS = 3 + 4  # brightness, contrast, saturation; two pairs of normals for the lighting coefficients


def draw(colour: Colour, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Factors float64 [N, 3] (brightness, contrast, saturation) and lighting coefficients float64 [N, 3].

    u: float64 [N, WORDS] in [0, 1). Factors are 1 + U(-strength, strength), coefficients N(0, colour.lighting).
    """
    strength = np.array([colour.brightness, colour.contrast, colour.saturation])
    return 1 + strength * (2 * u[:, :3] - 1), colour.lighting * normals(u[:, 3:7])[:, :3]


def matrices(factors: np.ndarray, lighting: np.ndarray, statistics: Statistics) -> np.ndarray:
    """float32 [N, 3, 5]: (R, G, B, mean_grey, 1) of 0 to 255 -> normalised R, G, B.

    factors: float64 [N, 3]; lighting: float64 [N, 3], the coefficients of the eigenvectors.
    """
    brightness, contrast, saturation = factors.T[:, :, None, None]  # [N, 1, 1] each
    mixed = saturation * np.eye(3) + (1 - saturation) * GREY
    result = np.empty((len(factors), 3, 5))
    result[:, :, :3] = brightness * contrast * mixed / 255
    result[:, :, 3] = (brightness * (1 - contrast))[:, 0] / 255
    result[:, :, 4] = lighting @ statistics.lighting.T - statistics.mean
    return (result / statistics.std[:, None]).astype(np.float32)


def apply_colour(images: torch.Tensor, matrices: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Finish a batch of a loader with colour_on="device" on the trainer's device: jitter, light and normalise it.

    images uint8 [B, 3, H, W] and matrices float32 [B, 3, 5], batch["image"] and batch["colour"], on one device ->
    [B, 3, H, W] of `dtype`, float32 by default. Computed element by element in float32, so that neither autocast nor
    TF32 changes it.
    """
    levels = images.float()
    mean_grey = (levels.mean((2, 3)) * levels.new_tensor(GREY.tolist())).sum(1)  # [B]
    offset = matrices[:, :, 3] * mean_grey[:, None] + matrices[:, :, 4]  # [B, 3]
    mapped = offset[:, :, None, None] + matrices[:, :, 0, None, None] * levels[:, 0:1]
    for channel in (1, 2):
        mapped.addcmul_(matrices[:, :, channel, None, None], levels[:, channel : channel + 1])
    return mapped if dtype is None else mapped.to(dtype)

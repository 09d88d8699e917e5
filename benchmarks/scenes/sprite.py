"""One object or distractor of a generated scene, painted, lit and cut out, so that it can be laid on the ground.

Pixels are float32 RGB on the [0, 1] scale. All of it is our choice.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from .objects import Kind
from .textures import ground_colours, hsv, relief, smooth_noise, through_ramp

TILT = 0.52  # radians (30 degrees) to either side; in one trial a small network got 47 % right, 29 % over the full turn
_SUBPIXEL_BITS = 4  # of polygon corners, for OpenCV


class Sprite(NamedTuple):
    """Colours float32 [h, w, 3] and opacity float32 [h, w] in [0, 1]."""

    colours: np.ndarray
    alpha: np.ndarray


def sprite(rng: Generator, kind: Kind, side: float, colours: np.ndarray, sun: float) -> Sprite:
    """A thing of this kind whose tight box has a longer side of `side` pixels, tilted at random.

    colours: float32 [2, 3], of the texture's 0 and 1. sun: direction of the light in radians.
    """
    outline, angle = kind.outline(rng), rng.uniform(-TILT, TILT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    turned = outline @ turn
    low, extent = turned.min(0), np.ptp(turned, axis=0)
    scale = side / float(extent.max())
    width, height = (int(pixels) + 1 for pixels in extent * scale)
    corners = np.round((turned - low) * (scale * 2**_SUBPIXEL_BITS)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    x = (np.arange(width, dtype=np.float32) + 0.5) / scale + low[0]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / scale + low[1])[:, None]
    # The transposed turn takes a pixel back into the frame of the outline, where textures are defined.
    u, v = x * turn[0, 0] + y * turn[0, 1], x * turn[1, 0] + y * turn[1, 1]
    tone = np.clip(kind.texture(rng, u, v), 0, 1).astype(np.float32)
    return Sprite(painted(rng, tone, mask, colours, sun), mask.astype(np.float32) / 255)


def painted(rng: Generator, tone: np.ndarray, mask: np.ndarray, colours: np.ndarray, sun: float) -> np.ndarray:
    """A surface with texture `tone` in [0, 1] and outline `mask`, both [h, w], domed, uneven and lit. [h, w, 3]"""
    height, width = tone.shape
    framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
    reach = rng.uniform(0.12, 0.3) * max(height, width)
    dome = np.sqrt(1 - (1 - np.minimum(depth / reach, 1)) ** 2)
    dome = cv2.GaussianBlur(dome, (0, 0), 0.02 * max(height, width)) * (reach * rng.uniform(0.04, 0.1)) + 0.12 * tone
    shade = relief(dome, 1.0, sun) * (1 + 0.08 * smooth_noise(rng, height, width, (6, 6)))
    gloss = rng.uniform(0, 0.5) * np.clip(shade - 1.15, 0, 1)
    return through_ramp(tone, colours) * shade[..., None] + gloss[..., None]


def object_colours(rng: Generator, ground: np.ndarray) -> np.ndarray:
    """A bright body and dark marks, of any hues; of four draws the one furthest from the colour `ground` [3]. [2, 3]

    Classes share one law of colours, so that colour tells an object from the ground, but never its class.
    """
    draws = []
    for _ in range(4):
        body = hsv(rng.uniform(), rng.uniform(0.25, 0.75), rng.uniform(0.8, 1))
        marks = hsv(rng.uniform(), rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.25))
        draws.append(np.stack([body, marks]))
    return max(draws, key=lambda pair: float(np.abs(pair - ground).sum()))


def stone_colours(rng: Generator) -> np.ndarray:
    """Two colours of some ground, either the darker or the lighter one first. float32 [2, 3]."""
    return ground_colours(rng)[[0, 2] if rng.uniform() < 0.5 else [3, 1]]

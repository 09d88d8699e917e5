"""Colours of classes, and masks drawn with them: alone, over their picture, and explained in a legend.

The colour of class k is the same whatever the number of classes. The first seven colours are those of Okabe and Ito
(2008), chosen for every kind of colour vision. Each further colour is the one of 4,096 candidates that is farthest from
all before it: by distance in OKLab (Ottosson 2020), the least over normal, protanopic and deuteranopic vision (Machado
et al. 2009). Greys and colours that are nearly black or white are no candidates; grey is for ignored pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .fonts import font
from .sheet import CAPTION_SIZE, INK, MARGIN

OKABE_ITO = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))
IGNORED = (128, 128, 128)
OPACITY = 0.55  # of the colours over a picture
HATCH = 6  # pixels from one stripe over ignored pixels to the next
CHIP, COLUMN_GAP, LINE = 18, 28, 28  # pixels in a legend: a coloured square, between columns, from line to line

_LIGHTNESS, _CHROMA = (0.35, 0.93), 0.05  # of OKLab, for candidates
_VISIONS = np.array(
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    ]
)  # of linear RGB
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


@cache
def palette(classes: int) -> np.ndarray:
    """The colours of the first `classes` classes, RGB uint8 [classes, 3], read-only."""
    levels = np.linspace(0, 255, 16).round()
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _seen(candidates)[0]
    legible = (_LIGHTNESS[0] <= lab[:, 0]) & (lab[:, 0] <= _LIGHTNESS[1]) & (np.hypot(lab[:, 1], lab[:, 2]) >= _CHROMA)
    candidates = candidates[legible]
    seen, colours = _seen(candidates), np.array(OKABE_ITO, np.float64)
    nearest = np.min([_distances(seen, colour) for colour in colours], 0)
    while len(colours) < classes:
        farthest = candidates[nearest.argmax()]
        colours = np.vstack([colours, farthest])
        nearest = np.minimum(nearest, _distances(seen, farthest))
    chosen = colours[:classes].astype(np.uint8)
    chosen.flags.writeable = False
    return chosen


def coloured(mask: np.ndarray, classes: int) -> np.ndarray:
    """A mask uint8 [H, W] in the palette's colours, RGB uint8 [H, W, 3]; values from `classes` on are grey."""
    table = np.full((256, 3), IGNORED, np.uint8)
    table[:classes] = palette(classes)
    return table[mask]


def mask_overlay(picture: np.ndarray, mask: np.ndarray, classes: int) -> np.ndarray:
    """The picture, RGB uint8 [H, W, 3], under the colours of its mask, uint8 of any size; ignored pixels hatched."""
    height, width = picture.shape[:2]
    mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
    tinted = (1 - OPACITY) * picture + OPACITY * coloured(mask, classes)
    tinted[_stripes(height, width) & (mask >= classes)] = 255
    return np.rint(tinted).astype(np.uint8)


def legend(names: Sequence[str], shown: Sequence[int] | np.ndarray, width: int, *, ignored: bool = True) -> Image.Image:
    """A legend on white, `width` pixels wide: the colours of the classes `shown` (at least one), of ignored pixels."""
    entries = [(names[k], tuple(palette(k + 1)[k].tolist())) for k in shown] + [("ignored", IGNORED)] * ignored
    caption = font(CAPTION_SIZE, *(name for name, _ in entries))
    column = CHIP + 8 + max(int(caption.getlength(name)) for name, _ in entries) + COLUMN_GAP
    columns = max((width - 2 * MARGIN + COLUMN_GAP) // column, 1)
    lines = -(-len(entries) // columns)
    image = Image.new("RGB", (width, lines * LINE + MARGIN), "white")
    draw = ImageDraw.Draw(image)
    for number, (name, colour) in enumerate(entries):
        left, top = MARGIN + number % columns * column, number // columns * LINE
        chip = np.full((CHIP, CHIP, 3), colour, np.uint8)
        if number == len(shown):  # the entry of ignored pixels
            chip[_stripes(CHIP, CHIP)] = 255
        image.paste(Image.fromarray(chip), (left, top))
        draw.text((left + CHIP + 8, top + CHIP // 2), name, INK, caption, anchor="lm")
    return image


def _stripes(height: int, width: int) -> np.ndarray:
    """bool [height, width]: the hatching of ignored pixels."""
    return np.add.outer(np.arange(height), np.arange(width)) % HATCH < HATCH // 3


def _seen(colours: np.ndarray) -> np.ndarray:
    """sRGB colours [N, 3], 0 to 255, in OKLab as each vision sees them: float64 [visions, N, 3]."""
    srgb = colours / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt((linear @ _VISIONS.transpose(0, 2, 1)).clip(0, 1) @ _TO_CONES.T) @ _TO_LAB.T


def _distances(seen: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """The distance of each candidate from a colour, in the vision where it is least: float64 [N]."""
    return np.linalg.norm(seen - _seen(colour[None]), axis=2).min(0)

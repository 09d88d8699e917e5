"""Drawings on one picture: a heatmap laid over it, and crop windows with their centres.

All functions take and return RGB uint8 [H, W, 3] arrays. Coordinates are pixels of that picture, so whoever shrinks the
picture scales the windows, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
PLAIN, DIMMING = (255, 255, 255, 190), (0, 0, 0, 90)  # RGBA
THIN, THICK, RADIUS = 1.25, 2.5, 3.5  # pixels: lines, and the dots at the centres
SUPERSAMPLED = 4  # lines are drawn at four times the size and averaged: smooth at any fraction of a pixel


def heatmap_overlay(picture: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The picture in grey under the colours (inferno) of its map uint8 [h, w], more opaque where the map is higher.

    Values are interpolated between the centres of the map's cells.
    """
    height, width = picture.shape[:2]
    heat = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[:, :, ::-1].astype(np.float32)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[:, :, None].astype(np.float32)
    opacity = 0.35 + 0.3 * heat[:, :, None] / np.float32(255)
    return np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)


def windows_drawn(
    picture: np.ndarray, windows: Sequence[Sequence[float]] | np.ndarray, colours: Sequence[Colour | None]
) -> np.ndarray:
    """The picture, dimmed, with a rectangle and a dot at its centre for each window, later ones on top.

    windows: y, x, height, width of each; colours: one for each, None draws it thin and white.
    """
    height, breadth = picture.shape[:2]
    layer = Image.new("RGBA", (breadth * SUPERSAMPLED, height * SUPERSAMPLED), DIMMING)
    draw = ImageDraw.Draw(layer)
    for (top, left, tall, wide), colour in zip(windows, colours, strict=True):
        # Pillow draws an outline inside its corners, so one flush with the border is as thick as the others.
        corners = _enlarged(left, top, left + wide, top + tall)
        draw.rectangle(corners, outline=colour or PLAIN, width=round((THICK if colour else THIN) * SUPERSAMPLED))
    for (top, left, tall, wide), colour in zip(windows, colours, strict=True):
        y, x = top + tall / 2, left + wide / 2
        corners = _enlarged(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS)
        draw.ellipse(corners, fill=colour or (255, 255, 255), outline=(0, 0, 0), width=SUPERSAMPLED)
    lines = layer.resize((breadth, height), Image.Resampling.BOX)
    return np.asarray(Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), lines).convert("RGB"))


def _enlarged(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
    """Corners in the enlarged layer; ImageDraw counts both as inside."""
    return left * SUPERSAMPLED, top * SUPERSAMPLED, right * SUPERSAMPLED - 1, bottom * SUPERSAMPLED - 1

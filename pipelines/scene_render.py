"""One generated scene: a ground, one object of a class among stones and sticks, light and shadows, and a camera.

Pixels are float32 RGB on the [0, 1] scale until the camera makes them uint8. Every object is drawn at twice its size and
averaged down, so that its edges are soft and its mask is exact where its alpha passes one half. All of it is our choice.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from .scene_objects import Kind, distractor
from .scene_textures import TAU, ground, ground_colours, hsv, light, relief, smooth_noise, through_ramp

BACKGROUND, OBJECT, DISTRACTOR = 0, 1, 2
OVERSAMPLING = 1
OSAT = (0.25, 0.75)
COUNT = (1, 4)
TILT = 0.52
DOF = (0.5, 1.5)
RATIOS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 9)
SHORTER_SIDE = (160, 320)  # px
OBJECT_SIDE = (0.30, 0.45)  # of the shorter side of the image
DISTRACTOR_SIDE = (0.12, 0.34)
MOST_HIDDEN = 0.2  # of the object, by the distractor in front of it


class Sprite(NamedTuple):
    """An object ready to be laid on a picture: colours float32 [h, w, 3] and opacity float32 [h, w]."""

    colours: np.ndarray
    alpha: np.ndarray


class Picture(NamedTuple):
    """A scene in the making, changed in place: colours float32 [H, W, 3], mask uint8 [H, W], direction of the light in radians."""

    colours: np.ndarray
    mask: np.ndarray
    sun: float


def render_scene(rng: Generator, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """One scene with one object of `kind`: image uint8 [H, W, 3] RGB and mask uint8 [H, W] (0 background, 1 object, 2 distractor)."""
    height, width = draw_size(rng)
    shorter = min(height, width)
    behind = ground(rng, height, width)
    if DOF[1]:
        behind = cv2.GaussianBlur(behind, (0, 0), rng.uniform(*DOF) * shorter / 100)
    picture = Picture(behind, np.zeros((height, width), np.uint8), rng.uniform(0, TAU))
    for _ in range(rng.integers(*COUNT)):
        stone = sprite(
            rng, distractor(rng), shorter * rng.uniform(*DISTRACTOR_SIDE), picture, stone_colours(rng, picture)
        )
        lay(picture, stone, draw_corner(rng, stone, height, width, inside=0.5), DISTRACTOR)
    item = sprite(rng, kind, shorter * rng.uniform(*OBJECT_SIDE), picture, object_colours(rng, picture))
    lay(picture, item, draw_corner(rng, item, height, width, inside=1), OBJECT)
    if rng.uniform() < 0.4:
        lay_in_front(rng, picture)
    picture.colours[:] *= light(rng, height, width)
    return camera(rng, picture.colours), picture.mask


def draw_size(rng: Generator) -> tuple[int, int]:
    """Height and width in pixels: a camera's aspect ratio, upright or lying."""
    shorter = int(rng.integers(SHORTER_SIDE[0], SHORTER_SIDE[1] + 1))
    longer = round(shorter * RATIOS[rng.integers(len(RATIOS))])
    return (shorter, longer) if rng.uniform() < 0.5 else (longer, shorter)


def draw_corner(rng: Generator, item: Sprite, height: int, width: int, *, inside: float) -> tuple[int, int]:
    """Where the sprite's upper left corner goes, uniform, with at least this share of either side inside the picture: y, x."""
    low = [-(1 - inside) * side for side in item.alpha.shape]
    high = [extent - inside * side for extent, side in zip((height, width), item.alpha.shape, strict=True)]
    y, x = rng.uniform(low, high)
    return int(y), int(x)


def sprite(rng: Generator, kind: Kind, side: float, picture: Picture, colours) -> Sprite:
    """An object whose tight box has a longer side of `side` pixels, turned at random, lit from the picture's sun."""
    outline, angle = kind.outline(rng), rng.uniform(-TILT, TILT)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], np.float32)
    turned = outline @ turn
    low, high = turned.min(0), turned.max(0)
    scale = side / float((high - low).max())
    width, height = (int(extent) + 1 for extent in (high - low) * scale)
    fine = np.full((height * OVERSAMPLING, width * OVERSAMPLING), 0, np.uint8)
    cv2.fillPoly(
        fine, [np.round((turned - low) * (scale * OVERSAMPLING * 16)).astype(np.int32)], 255, cv2.LINE_AA, shift=4
    )
    x = (np.arange(fine.shape[1], dtype=np.float32) + 0.5) / (scale * OVERSAMPLING) + low[0]
    y = ((np.arange(fine.shape[0], dtype=np.float32) + 0.5) / (scale * OVERSAMPLING) + low[1])[:, None]
    u, v = x * turn[0, 0] + y * turn[0, 1], x * turn[1, 0] + y * turn[1, 1]
    tone = kind.texture(rng, u, v).astype(np.float32)
    colours = painted(rng, tone, fine, picture, colours)
    size = (width, height)
    return Sprite(
        cv2.resize(colours, size, interpolation=cv2.INTER_AREA),
        cv2.resize(fine, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255,
    )


def painted(rng: Generator, tone: np.ndarray, mask: np.ndarray, picture: Picture, colours) -> np.ndarray:
    """Colour, unevenness and shading of a surface with texture `tone` and outline `mask`, both [h, w]. float32 [h, w, 3]."""
    height, width = tone.shape
    colours = through_ramp(np.clip(tone, 0, 1), colours)
    depth = cv2.distanceTransform(cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)[1:-1, 1:-1]
    reach = rng.uniform(0.12, 0.3) * max(height, width)
    dome = np.sqrt(1 - (1 - np.minimum(depth / reach, 1)) ** 2)
    dome = cv2.GaussianBlur(dome, (0, 0), 0.02 * max(height, width)) * (reach * rng.uniform(0.04, 0.1)) + 0.12 * tone
    uneven = 1 + 0.08 * smooth_noise(rng, height, width, (6, 6))
    shade = relief(dome, 1.0, picture.sun) * uneven
    gloss = rng.uniform(0, 0.5) * np.clip(shade - 1.15, 0, 1)
    return colours * shade[..., None] + gloss[..., None]


def object_colours(rng: Generator, picture: Picture) -> np.ndarray:
    """A bright body and dark marks, of any hues; of four draws the one furthest from the ground. float32 [2, 3]."""
    around = picture.colours[::16, ::16].mean((0, 1))
    draws = [
        np.stack(
            [
                hsv(rng.uniform(), rng.uniform(*OSAT), rng.uniform(0.8, 1)),
                hsv(rng.uniform(), rng.uniform(0.2, 0.9), rng.uniform(0.05, 0.25)),
            ]
        )
        for _ in range(4)
    ]
    return max(draws, key=lambda pair: float(np.abs(pair - around).sum()))


def stone_colours(rng: Generator, picture: Picture) -> np.ndarray:
    return ground_colours(rng)[[0, 2] if rng.uniform() < 0.5 else [3, 1]]


def lay(picture: Picture, item: Sprite, corner: tuple[int, int], value: int) -> None:
    """Puts the sprite on the picture, with its shadow, and `value` into the mask where it covers more than half of a pixel."""
    cast_shadow(picture, item, corner)
    inner, outer = overlap(item.alpha.shape, picture.mask.shape, corner)
    alpha = item.alpha[inner]
    picture.colours[outer] += alpha[..., None] * (item.colours[inner] - picture.colours[outer])
    picture.mask[outer][alpha > 0.5] = value


def cast_shadow(picture: Picture, item: Sprite, corner: tuple[int, int]) -> None:
    """Darkens what lies on the far side of the sprite from the sun."""
    margin = max(4, max(item.alpha.shape) // 6)
    dark = cv2.copyMakeBorder(item.alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    dark = cv2.GaussianBlur(dark, (0, 0), margin / 3)
    shift = (round(0.45 * margin * np.sin(picture.sun)), round(0.45 * margin * np.cos(picture.sun)))
    place = (corner[0] - margin + shift[0], corner[1] - margin + shift[1])
    inner, outer = overlap(dark.shape, picture.mask.shape, place)
    picture.colours[outer] *= (1 - 0.5 * dark[inner])[..., None]


def overlap(
    small: tuple[int, ...], large: tuple[int, ...], corner: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """The part of a small array that falls into a large one when its corner lies at `corner`: slices into each."""
    starts = [max(0, -place) for place in corner]
    stops = [max(0, min(size, extent - place)) for size, extent, place in zip(small, large, corner, strict=True)]
    inner = [slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True)]
    outer = [slice(part.start + place, part.stop + place) for part, place in zip(inner, corner, strict=True)]
    return (inner[0], inner[1]), (outer[0], outer[1])


def lay_in_front(rng: Generator, picture: Picture) -> None:
    """Lays one more distractor near the object's rim, unless it would hide too much of it."""
    height, width = picture.mask.shape
    stone = sprite(
        rng, distractor(rng), min(height, width) * rng.uniform(*DISTRACTOR_SIDE), picture, stone_colours(rng, picture)
    )
    rim_y, rim_x = np.nonzero(picture.mask == OBJECT)
    pick = rng.integers(len(rim_y))
    corner = (
        int(rim_y[pick] - rng.uniform() * stone.alpha.shape[0]),
        int(rim_x[pick] - rng.uniform() * stone.alpha.shape[1]),
    )
    inner, outer = overlap(stone.alpha.shape, picture.mask.shape, corner)
    hidden = np.count_nonzero((stone.alpha[inner] > 0.5) & (picture.mask[outer] == OBJECT))
    if hidden <= MOST_HIDDEN * len(rim_y):
        lay(picture, stone, corner, DISTRACTOR)


def camera(rng: Generator, colours: np.ndarray) -> np.ndarray:
    """What a sensor makes of the light: a little blur, noise, a soft shoulder instead of clipped highlights. uint8 [H, W, 3]."""
    height, width = colours.shape[:2]
    seen = cv2.GaussianBlur(colours, (0, 0), rng.uniform(0.3, 1.0))
    noise = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width).astype(np.float32) - 127.5
    seen += (noise * rng.uniform(5e-5, 25e-5))[..., None]
    return cv2.convertScaleAbs(np.maximum(seen, 0, out=seen), alpha=255)

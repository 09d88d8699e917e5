"""One generated scene: a ground, objects of classes among stones and sticks, light and shadows, and a camera.

Pixels are float32 RGB on the [0, 1] scale until the camera makes them uint8. A pixel of the mask belongs to the object
that covers more than half of it. All of it is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from .objects import Kind, distractor
from .sprite import Sprite, object_colours, sprite, stone_colours
from .textures import TAU, ground, light

BACKGROUND, OBJECT, DISTRACTOR = 0, 1, 2  # values of the mask; further objects have 3, 4, ...
SHORTER_SIDE = (160, 320)  # px
RATIOS = (1.0, 5 / 4, 4 / 3, 3 / 2, 16 / 9)  # longer over shorter side, as cameras have them
OBJECT_SIDE = (0.30, 0.45)  # of the shorter side; the longer side of the object's box, before occlusion
DISTRACTOR_SIDE = (0.12, 0.34)
DISTRACTORS = (1, 3)  # behind the object, least and most
IN_FRONT = 0.4  # share of scenes in which one more lies on the object
MOST_HIDDEN = 0.2  # share of the visible pixels of an object that one further object may cover
TRIES = 10  # positions tried for an object that must not cover others; after these it is left out
DEFOCUS = (0.005, 0.015)  # blur of the ground, of the shorter side: the camera looks at the object

Slices = tuple[slice, slice]


class Picture(NamedTuple):
    """A scene while it is drawn, changed by each step: colours float32 [H, W, 3], mask uint8 [H, W], sun angle."""

    colours: np.ndarray
    mask: np.ndarray
    sun: float


def render_scene(rng: Generator, kinds: Sequence[Kind]) -> tuple[np.ndarray, np.ndarray]:
    """One scene with an object of each kind: image uint8 [H, W, 3] RGB, and mask uint8 [H, W] of the values above.

    In the mask the first object is OBJECT, the k-th after it DISTRACTOR + k. Objects after the first are left out where
    every position tried would cover too much of the others.
    """
    picture = empty_scene(rng)
    height, width = picture.mask.shape
    for _ in range(rng.integers(DISTRACTORS[0], DISTRACTORS[1] + 1)):
        stone = draw_distractor(rng, picture)
        lay(picture, stone, draw_corner(rng, stone, picture, inside=0.5), DISTRACTOR)
    for number, kind in enumerate(kinds):
        side = min(height, width) * rng.uniform(*OBJECT_SIDE)
        colours = object_colours(rng, picture.colours[::16, ::16].mean((0, 1)))
        item = sprite(rng, kind, side, colours, picture.sun)
        for _ in range(TRIES):
            corner = draw_corner(rng, item, picture, inside=1)
            if not hides_too_much(picture, item, corner):
                lay(picture, item, corner, OBJECT if number == 0 else DISTRACTOR + number)
                break
    if rng.uniform() < IN_FRONT:
        lay_in_front(rng, picture)
    return camera(rng, picture.colours * light(rng, height, width)), picture.mask


def empty_scene(rng: Generator) -> Picture:
    """Ground alone, with the size and aspect ratio of a camera's picture, upright or lying."""
    shorter = int(rng.integers(SHORTER_SIDE[0], SHORTER_SIDE[1] + 1))
    longer = round(shorter * RATIOS[rng.integers(len(RATIOS))])
    height, width = (shorter, longer) if rng.uniform() < 0.5 else (longer, shorter)
    sharp = ground(rng, height, width)
    blurred = cv2.GaussianBlur(sharp, (0, 0), rng.uniform(*DEFOCUS) * shorter)
    return Picture(blurred, np.zeros((height, width), np.uint8), rng.uniform(0, TAU))


def draw_distractor(rng: Generator, picture: Picture) -> Sprite:
    """A stone, stick or shard for this picture."""
    kind, side = distractor(rng), min(picture.mask.shape) * rng.uniform(*DISTRACTOR_SIDE)
    return sprite(rng, kind, side, stone_colours(rng), picture.sun)


def draw_corner(rng: Generator, item: Sprite, picture: Picture, *, inside: float) -> tuple[int, int]:
    """Where the upper left corner goes (y, x), uniform; at least `inside` of either side of the sprite is in sight."""
    low = [-(1 - inside) * side for side in item.alpha.shape]
    high = [extent - inside * side for extent, side in zip(picture.mask.shape, item.alpha.shape, strict=True)]
    y, x = rng.uniform(low, high)
    return int(y), int(x)


def lay(picture: Picture, item: Sprite, corner: tuple[int, int], value: int) -> None:
    """Put the sprite and its shadow on the picture, and `value` into the mask."""
    cast_shadow(picture, item, corner)
    inner, outer = overlap(item.alpha.shape, picture.mask.shape, corner)
    alpha = item.alpha[inner]
    picture.colours[outer] += alpha[..., None] * (item.colours[inner] - picture.colours[outer])
    picture.mask[outer][alpha > 0.5] = value


def cast_shadow(picture: Picture, item: Sprite, corner: tuple[int, int]) -> None:
    """Darken what lies on the far side of the sprite from the sun."""
    margin = max(4, max(item.alpha.shape) // 6)
    dark = cv2.copyMakeBorder(item.alpha, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
    dark = cv2.GaussianBlur(dark, (0, 0), margin / 3)
    shift = (round(0.45 * margin * np.sin(picture.sun)), round(0.45 * margin * np.cos(picture.sun)))
    shadow_corner = (corner[0] - margin + shift[0], corner[1] - margin + shift[1])
    inner, outer = overlap(dark.shape, picture.mask.shape, shadow_corner)
    picture.colours[outer] *= (1 - 0.5 * dark[inner])[..., None]


def overlap(small: tuple[int, ...], large: tuple[int, ...], corner: tuple[int, int]) -> tuple[Slices, Slices]:
    """The part of a small array that falls into a large one when its corner lies at `corner`: slices into each."""
    starts = [max(0, -offset) for offset in corner]
    stops = [max(0, min(size, extent - offset)) for size, extent, offset in zip(small, large, corner, strict=True)]
    inner = [slice(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True)]
    outer = [slice(part.start + offset, part.stop + offset) for part, offset in zip(inner, corner, strict=True)]
    return (inner[0], inner[1]), (outer[0], outer[1])


def lay_in_front(rng: Generator, picture: Picture) -> None:
    """Lay one more distractor over some pixel of the first object, unless it would hide too much of any."""
    stone = draw_distractor(rng, picture)
    rows, columns = np.nonzero(picture.mask == OBJECT)
    pick = rng.integers(len(rows))
    height, width = stone.alpha.shape
    corner = int(rows[pick] - rng.uniform() * height), int(columns[pick] - rng.uniform() * width)
    if not hides_too_much(picture, stone, corner):
        lay(picture, stone, corner, DISTRACTOR)


def hides_too_much(picture: Picture, item: Sprite, corner: tuple[int, int]) -> bool:
    """Whether the sprite at `corner` would lie on more than MOST_HIDDEN of an object's pixels in sight."""
    inner, outer = overlap(item.alpha.shape, picture.mask.shape, corner)
    covered = picture.mask[outer][item.alpha[inner] > 0.5]
    before = np.bincount(picture.mask.ravel(), minlength=256)
    hidden = np.bincount(covered, minlength=256) > MOST_HIDDEN * before
    hidden[[BACKGROUND, DISTRACTOR]] = False
    return bool(hidden.any())


def camera(rng: Generator, colours: np.ndarray) -> np.ndarray:
    """The picture as a sensor records it: a little blur, grey noise, clipped highlights. uint8 [H, W, 3]."""
    height, width = colours.shape[:2]
    seen = cv2.GaussianBlur(colours, (0, 0), rng.uniform(0.3, 1.0))
    noise = np.frombuffer(rng.bytes(height * width), np.uint8).reshape(height, width).astype(np.float32) - 127.5
    seen += (noise * rng.uniform(5e-5, 25e-5))[..., None]
    return cv2.convertScaleAbs(np.maximum(seen, 0, out=seen), alpha=255)

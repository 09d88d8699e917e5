"""The objects in generated scenes: outline and texture of each class, and of the distractors, which have no class.

An outline is a closed polygon, float32 [N, 2], as (x, y) with y down, about as large as the square [-1, 1]. A texture
takes the coordinates u (along x) and v (along y) of every pixel in that same frame, and gives the share of the second
of two colours, [H, W] in [0, 1]. Proportions vary from one object to the next, and colours do not depend on the class.
Features are coarse enough to be seen at 96 px. All of it is our choice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from .textures import TAU, fractal_noise

Texture = Callable[[Generator, np.ndarray, np.ndarray], np.ndarray]


class Kind(NamedTuple):
    """How one kind of object is drawn."""

    outline: Callable[[Generator], np.ndarray]
    texture: Texture


def soft_step(values: np.ndarray, edge: float, width: float) -> np.ndarray:
    """0 below `edge`, 1 above it, linear over `width` around it."""
    return np.clip((values - edge) / width + 0.5, 0, 1)


def dots(u: np.ndarray, v: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """1 inside any of the discs around `centres` [K, 2] with `radii` [K], soft at the rim. [H, W]"""
    total = np.zeros_like(u)
    for (x, y), radius in zip(centres.tolist(), radii.tolist(), strict=True):
        distance = (u - x) ** 2 + (v - y) ** 2
        np.maximum(total, soft_step(-distance, -radius * radius, radius * radius), out=total)
    return total


def polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The polygon with these corners."""
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).astype(np.float32)


def mirrored(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The polygon of a right half, given from top to bottom, and its mirror image."""
    return np.stack([np.r_[x, -x[::-1]], np.r_[y, y[::-1]]], -1).astype(np.float32)


TURN = np.linspace(0, TAU, 180, endpoint=False)
DOWN = np.linspace(-1, 1, 60)


def starfish_outline(rng: Generator) -> np.ndarray:
    waist, bluntness = rng.uniform(0.2, 0.3), rng.uniform(1.3, 2.0)
    arm = np.abs(np.cos(2.5 * TURN))
    length = 1 + rng.normal(0, 0.06, 5).repeat(36)
    return polar(waist + (length - waist) * arm**bluntness, TURN)


def starfish(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Rows of warts along five arms."""
    fifth = (np.arctan2(v, u) + TAU / 10) % (TAU / 5) - TAU / 10
    radius = np.hypot(u, v)
    along, across = radius * np.cos(fifth), radius * np.sin(fifth)
    pitch = TAU / rng.uniform(0.26, 0.34)
    warts = np.cos(along * pitch) * np.cos(across * pitch)
    return np.maximum(soft_step(warts, 0.35, 0.3), soft_step(-np.abs(across), -0.035, 0.04))


def leaf_outline(rng: Generator) -> np.ndarray:
    plump, teeth, depth = rng.uniform(0.42, 0.62), rng.uniform(9, 14), rng.uniform(0.02, 0.07)
    body = DOWN * 0.86 - 0.14
    width = plump * (1 - np.abs(DOWN) ** 2.2) * (1 + 0.25 * DOWN) + depth * ((DOWN * teeth) % 1) * (1 - DOWN**2)
    stem = np.array([0.72, 0.85, 1.0])
    return mirrored(np.r_[np.maximum(width, 0.02), 0.03, 0.03, 0.04], np.r_[body, stem])


def leaf(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A midrib and side veins that climb from it."""
    side = (v + rng.uniform(0.6, 0.9) * np.abs(u)) * rng.uniform(3.0, 4.2)
    veins = soft_step(-np.abs(side % 1 - 0.5), -0.1, 0.1)
    blade = 0.25 * soft_step(np.sin(TAU * side), 0, 2)
    return np.maximum(np.maximum(veins, blade), soft_step(-np.abs(u), -0.05, 0.04))


def ladybird_outline(rng: Generator) -> np.ndarray:
    slim, head = rng.uniform(0.72, 0.86), rng.uniform(0.32, 0.4)
    shell = slim * np.sqrt(np.clip(1 - ((DOWN - 0.12) / 0.88) ** 2, 0, 1))
    cap = head * np.sqrt(np.clip(1 - ((DOWN + 0.7) / 0.3) ** 2, 0, 1))
    return mirrored(np.maximum(shell, cap), DOWN)


def ladybird(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Two wing cases with a few large spots each, and a dark head."""
    centres = np.array([(0.36, -0.3), (0.42, 0.22), (0.24, 0.62), (0.14, -0.02)])[: rng.integers(3, 5)]
    centres = centres + rng.normal(0, 0.03, centres.shape)
    spots = dots(np.abs(u), v, centres, rng.uniform(0.13, 0.18, len(centres)))
    seam = soft_step(-np.abs(u), -0.035, 0.03)
    return np.maximum(np.maximum(spots, seam), soft_step(-v, 0.5, 0.06))


def shell_outline(rng: Generator) -> np.ndarray:
    growth = rng.uniform(0.08, 0.13)
    radius = np.exp(-growth * TURN)
    return polar(radius, TURN) * (1, rng.uniform(0.88, 1.0))


def shell(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A band that winds inwards, crossed by fine growth lines."""
    radius, angle = np.log(np.hypot(u, v) + 0.03), np.arctan2(v, u)
    spiral = np.sin(rng.uniform(5.0, 6.5) * radius + angle)
    lines = np.sin(int(rng.integers(14, 20)) * angle)
    return np.clip(soft_step(spiral, 0.1, 0.5) + 0.16 * lines, 0, 1)


def fish_outline(rng: Generator) -> np.ndarray:
    deep, fork = rng.uniform(0.36, 0.5), rng.uniform(0.34, 0.48)
    along = np.array([-1, -0.93, -0.8, -0.6, -0.35, -0.1, 0.15, 0.38, 0.55, 0.62, 0.78, 0.98, 1.0, 0.86])
    half = np.array([0, 0.3, 0.58, 0.84, 1, 0.98, 0.82, 0.52, 0.24, 0.22, 0.62, 1, 0.95, 0.02])
    half = half * np.where(along > 0.6, fork, deep)
    half[-1] = 0.02
    fine = np.linspace(0, len(along) - 1, 70)
    steps = np.arange(len(along))
    x, y = np.interp(fine, steps, along), np.interp(fine, steps, half)
    return np.stack([np.r_[x, x[::-1]], np.r_[y, -y[::-1]]], -1).astype(np.float32)


def fish(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Broad bent bars across the body, an eye, a rayed tail."""
    bars = soft_step(np.sin((u + 0.35 * v * v) * (TAU / rng.uniform(0.36, 0.46)) + rng.uniform(0, TAU)), 0.2, 0.5)
    tail = soft_step(np.sin(np.arctan2(v, u - 0.3) * 16), 0.2, 0.8)
    body = np.where(u > 0.62, tail, bars) * soft_step(u, -0.5, 0.06)
    return np.maximum(body, dots(u, v, np.array([(-0.7, -0.08)]), np.array([0.1])))


def butterfly_outline(rng: Generator) -> np.ndarray:
    upper, lower = rng.uniform(0.86, 1.0), rng.uniform(0.56, 0.74)
    y = np.array([-0.42, -0.62, -0.8, -0.84, -0.7, -0.4, -0.12, 0.0, 0.1, 0.34, 0.6, 0.78, 0.74, 0.5, 0.4, 0.44])
    x = np.array([0.03, 0.3, 0.68, 0.92, 1.0, 0.93, 0.76, 0.55, 0.74, 0.98, 0.9, 0.62, 0.34, 0.12, 0.07, 0.0])
    x = x * np.where(y < 0.05, upper, np.where(np.arange(16) < 14, lower, 1))
    fine, steps = np.linspace(0, len(x) - 1, 90), np.arange(len(x))
    return mirrored(np.interp(fine, steps, x), np.interp(fine, steps, y))


def butterfly(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Dark body and wing tips, veins that fan out, an eye on each wing."""
    x = np.abs(u)
    fan = np.arctan2(v + 0.05, x + 0.05)
    veins = soft_step(np.cos(fan * rng.uniform(13, 17)), 0.86, 0.12)
    tips = soft_step(np.hypot(x, 1.15 * v), rng.uniform(0.84, 0.94), 0.12)
    eyes = np.array([(0.62, -0.42), (0.42, 0.42)]) + rng.normal(0, 0.03, (2, 2))
    ring = dots(x, v, eyes, np.array([0.17, 0.14])) - dots(x, v, eyes, np.array([0.08, 0.07]))
    body = soft_step(-x, -0.07, 0.04)
    return np.clip(np.maximum(np.maximum(veins, tips), np.maximum(ring, body)), 0, 1)


def flower_outline(rng: Generator) -> np.ndarray:
    petals, notch = rng.integers(6, 10), rng.uniform(0.35, 0.5)
    wave = np.abs(np.cos(petals / 2 * np.linspace(0, TAU, 360, endpoint=False)))
    return polar(1 - notch * (1 - wave**0.6), np.linspace(0, TAU, 360, endpoint=False))


def flower(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Fine streaks from a dotted heart outwards."""
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    streaks = (0.5 + 0.5 * np.cos(angle * rng.integers(30, 44))) * soft_step(-radius, -0.62, 0.5)
    pitch = TAU / 0.11
    heart = soft_step(-radius, -rng.uniform(0.24, 0.32), 0.04) * (0.75 + 0.25 * np.sin(u * pitch) * np.sin(v * pitch))
    return np.maximum(0.6 * streaks, heart)


def pineapple_outline(rng: Generator) -> np.ndarray:
    slim, crown = rng.uniform(0.46, 0.56), rng.uniform(0.3, 0.4)
    body = np.linspace(-0.3, 1, 40)
    bulge = slim * (1 - np.abs((body - 0.35) / 0.65) ** 2.6) ** 0.5
    y = np.r_[-1, -0.62, -0.86, -0.55, -0.64, -0.42, -0.3, body[1:]]
    x = np.r_[0, 0.08, 0.5 * crown, 0.5 * crown, crown, 0.4 * crown, 0.5 * crown, bulge[1:]]
    return mirrored(x, y)


def pineapple(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Diamonds in a lattice, a streaked crown."""
    pitch = TAU / rng.uniform(0.26, 0.34)
    lattice = np.minimum(np.abs(np.sin(0.5 * pitch * (u + v))), np.abs(np.sin(0.5 * pitch * (u - v))))
    crown = soft_step(np.sin(u * 46), 0, 0.8)
    return np.where(v < -0.32, crown, soft_step(-lattice, -0.3, 0.25))


def stone_outline(rng: Generator) -> np.ndarray:
    """A smooth lump: a circle with three low harmonics."""
    radius = np.ones_like(TURN)
    for harmonic, strength in ((2, 0.18), (3, 0.1), (4, 0.05)):
        radius += rng.uniform(0, strength) * np.cos(harmonic * TURN + rng.uniform(0, TAU))
    return polar(radius, TURN)


def stick_outline(rng: Generator) -> np.ndarray:
    """A long bar with uneven sides."""
    along = np.linspace(-1, 1, 24)
    half = rng.uniform(0.08, 0.2) * (1 - 0.6 * np.abs(along) ** 8) + rng.normal(0, 0.008, (2, 24))
    bow = rng.uniform(-0.15, 0.15) * along**2
    return np.stack([np.r_[along, along[::-1]], np.r_[bow + half[0], (bow - half[1])[::-1]]], -1).astype(np.float32)


def shard_outline(rng: Generator) -> np.ndarray:
    """A broken piece: four or five corners on a circle, roughly evenly spaced."""
    corners = int(rng.integers(4, 6))
    angle = (np.arange(corners) + rng.uniform(-0.3, 0.3, corners)) * (TAU / corners)
    return polar(rng.uniform(0.8, 1.0, corners), angle)


def mottled(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Specks and clouds, as on stone."""
    noise = fractal_noise(rng, *u.shape, cell=rng.uniform(8, 40), rough=rng.uniform(0.6, 1.0))
    return soft_step(noise, rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.8))


def veined(rng: Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Bent bands, as in marble or wood."""
    bend = fractal_noise(rng, *u.shape, cell=rng.uniform(20, 60), rough=0.5)
    return 0.5 + 0.5 * np.sin(v * rng.uniform(6, 16) + bend * rng.uniform(4, 10))


CLASSES = {
    "butterfly": Kind(butterfly_outline, butterfly),
    "fish": Kind(fish_outline, fish),
    "flower": Kind(flower_outline, flower),
    "ladybird": Kind(ladybird_outline, ladybird),
    "shell": Kind(shell_outline, shell),
    "starfish": Kind(starfish_outline, starfish),
    "leaf": Kind(leaf_outline, leaf),
    "pineapple": Kind(pineapple_outline, pineapple),
}
DISTRACTOR_OUTLINES = (stone_outline, stick_outline, shard_outline)
DISTRACTOR_TEXTURES = (mottled, veined)


def distractor(rng: Generator) -> Kind:
    """A stone, stick or shard, mottled or veined."""
    outline = DISTRACTOR_OUTLINES[rng.integers(len(DISTRACTOR_OUTLINES))]
    return Kind(outline, DISTRACTOR_TEXTURES[rng.integers(len(DISTRACTOR_TEXTURES))])

"""Textures of generated scenes: smooth noise, colour ramps, the grounds that objects lie on, and the light over them.

Everything is float32 on the [0, 1] scale, RGB, H x W x 3, drawn only from the NumPy generator that is
passed. Natural ground is many octaves of smooth noise (Perlin, SIGGRAPH 1985, with cubic interpolation of random
grids), seen through a ramp of a few related colours; bending a wave with such noise gives wood and rippled sand. All of
it is our choice.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

RAMP_STEPS = 256
LIGHT_STEPS = 24  # light changes slowly: it is computed at this number of points each way
TAU = float(2 * np.pi)


def smooth_noise(rng: Generator, height: int, width: int, cell: tuple[float, float]) -> np.ndarray:
    """Noise of mean 0 and deviation near 1, [H, W]; `cell`: height and width of its features in pixels."""
    rows, columns = int(height / cell[0]) + 2, int(width / cell[1]) + 2
    grid = rng.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def fractal_noise(
    rng: Generator, height: int, width: int, *, cell: float, rough: float, stretch: float = 1.0
) -> np.ndarray:
    """Octaves of smooth noise from features of `cell` pixels down to 2, each `rough` times as strong as the one before.

    `stretch` makes features wider than high. float32 [H, W], brought to [0, 1] (about 1 % is clipped).
    """
    total, weight = np.zeros((height, width), np.float32), 1.0
    while cell >= 2:
        total += weight * smooth_noise(rng, height, width, (max(1.0, cell / stretch), cell * stretch))
        cell, weight = cell / 2, weight * rough
    total *= 1 / (5 * (float(total.std()) + 1e-6))
    total += 0.5 - float(total.mean())
    return np.clip(total, 0, 1, out=total)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """One colour; hue in turns (any real number). float32 [3]."""
    phase = np.abs((np.float32(hue) + np.array([0, 2 / 3, 1 / 3], np.float32)) % 1 * 6 - 3) - 1
    return (value * (1 + saturation * (np.clip(phase, 0, 1) - 1))).astype(np.float32)


def through_ramp(values: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Values in [0, 1], [H, W], as colours: piecewise linear over `colours` [K, 3], K >= 2. float32 [H, W, 3]."""
    steps = np.linspace(0, len(colours) - 1, RAMP_STEPS)
    table = np.stack([np.interp(steps, np.arange(len(colours)), channel) for channel in colours.T], -1).astype(
        np.float32
    )
    steps = cv2.convertScaleAbs(values, alpha=RAMP_STEPS - 1)
    return cv2.LUT(cv2.merge((steps, steps, steps)), table[None])


def relief(heights: np.ndarray, strength: float, angle: float) -> np.ndarray:
    """How light from `angle` (radians) falls on a surface: 1 on the flat, more on slopes towards it. [H, W]."""
    slope_x = cv2.Sobel(heights, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(heights, cv2.CV_32F, 0, 1, ksize=3)
    return np.clip(1 + strength * (np.cos(angle) * slope_x + np.sin(angle) * slope_y), 0.3, 1.7)


def ground_colours(rng: Generator) -> np.ndarray:
    """Four related colours, dark to light: earth, sand, green or water mostly, any hue at times. float32 [4, 3]."""
    hue = rng.choice((0.05, 0.09, 0.12, 0.24, 0.33, 0.56, rng.uniform(0, 1))) + rng.normal(0, 0.02)
    saturation, dark, light = rng.uniform(0.08, 0.5), rng.uniform(0.1, 0.25), rng.uniform(0.4, 0.72)
    shades = zip(
        np.linspace(dark, light, 4), rng.normal(hue, 0.025, 4), saturation * rng.uniform(0.6, 1.1, 4), strict=True
    )
    return np.stack([hsv(turn, strength, value) for value, turn, strength in shades])


def ground(rng: Generator, height: int, width: int) -> np.ndarray:
    """A textured ground in one of six manners. float32 [H, W, 3]."""
    manner, colours = GROUNDS[rng.integers(len(GROUNDS))], ground_colours(rng)
    if rng.uniform() < 0.5:
        return np.ascontiguousarray(manner(rng, width, height, colours).swapaxes(0, 1))
    return manner(rng, height, width, colours)


def soil(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Soil, rock, plaster: rough fractal noise in slanting light."""
    heights = fractal_noise(rng, height, width, cell=rng.uniform(16, 90), rough=rng.uniform(0.7, 1.0))
    lit = relief(heights, rng.uniform(0.5, 1.5), rng.uniform(0, TAU))
    return through_ramp(0.2 + 0.6 * heights, colours) * lit[..., None]


def grain(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Wood or rippled sand: parallel waves, bent by noise, with fine streaks along them."""
    columns = np.arange(width, dtype=np.float32) * np.float32(rng.uniform(-0.3, 0.3))
    across = np.arange(height, dtype=np.float32)[:, None] + columns
    bend = smooth_noise(rng, height, width, (height / 2, width / 2)) * rng.uniform(0.2, 0.8)
    wave = 0.5 + 0.5 * np.sin(across * (TAU / rng.uniform(9, 28)) + TAU * bend)
    streaks = fractal_noise(rng, height, width, cell=16, rough=0.9, stretch=3)
    return through_ramp(rng.uniform(0.2, 0.45) * (wave - streaks) + streaks, colours)


def meadow(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Grass, straw or needles: blades over blades, the later the lighter."""
    image = through_ramp(0.4 * fractal_noise(rng, height, width, cell=24, rough=0.8), colours)
    count = int(height * width / rng.uniform(50, 110))
    start = rng.uniform((0, 0), (width, height), (count, 2))
    angle = rng.normal(rng.uniform(0, TAU), rng.uniform(0.2, 0.7), count)
    end = start + rng.uniform(8, 30, (count, 1)) * np.stack([np.cos(angle), np.sin(angle)], -1)
    tone = np.clip(np.linspace(0.1, 0.8, count) + rng.normal(0, 0.12, count), 0, 1)
    ends, thick = (np.stack([start, end], 1) * 8).astype(np.int32).tolist(), int(rng.integers(1, 3))
    for (first, last), colour in zip(ends, through_ramp(tone[:, None], colours)[:, 0].tolist(), strict=True):
        cv2.line(image, first, last, colour, thick, cv2.LINE_AA, shift=3)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.3))


def gravel(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Pebbles side by side: cells around random points, each of one tone and domed, dark joints between them."""
    seeds = np.full((height, width), 255, np.uint8)
    count = int(height * width / rng.uniform(6, 13) ** 2)
    seeds[rng.integers(0, height, count), rng.integers(0, width, count)] = 0
    distance, cell = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    tones = np.clip(rng.normal(0.6, 0.16, count + 1), 0, 1).astype(np.float32)[np.minimum(cell, count)]
    domes = np.asarray(1 - (distance / (float(distance.max()) + 1)) ** 2, np.float32)
    domes = cv2.GaussianBlur(domes, (0, 0), 0.9)
    lit = relief(domes, rng.uniform(0.4, 1), rng.uniform(0, TAU)) * (0.3 + 0.75 * domes)
    return through_ramp(tones, colours) * lit[..., None]


def bokeh(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """A background far out of focus, with soft discs of light."""
    noise = fractal_noise(rng, height, width, cell=rng.uniform(60, 140), rough=0.35)
    discs = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(4, 14)):
        centre = rng.integers(0, (width, height)).tolist()
        disc = np.zeros_like(discs)
        cv2.circle(
            disc, centre, int(rng.uniform(0.03, 0.11) * min(height, width)), rng.uniform(0.1, 0.35), -1, cv2.LINE_AA
        )
        discs += disc
    discs = cv2.GaussianBlur(discs, (0, 0), rng.uniform(1, 3))
    return through_ramp(np.clip(0.8 * noise + discs, 0, 1), colours)


def cloth(rng: Generator, height: int, width: int, colours: np.ndarray) -> np.ndarray:
    """Woven cloth with soft folds."""
    folds = fractal_noise(rng, height, width, cell=rng.uniform(70, 160), rough=0.3)
    pitch = TAU / rng.uniform(2.5, 7)
    warp = np.sin(np.arange(width, dtype=np.float32) * pitch)
    weft = np.sin(np.arange(height, dtype=np.float32)[:, None] * pitch)
    threads = fractal_noise(rng, height, width, cell=3, rough=1) - 0.5
    tone = 0.55 + rng.uniform(0.15, 0.4) * (folds - 0.5) + rng.uniform(0.05, 0.14) * warp * weft + 0.25 * threads
    return through_ramp(np.clip(tone, 0, 1), colours)


GROUNDS = (soil, grain, meadow, gravel, bokeh, cloth)


def light(rng: Generator, height: int, width: int) -> np.ndarray:
    """What the scene is multiplied with: a slope across it, a darker rim, dappled shade, a colour cast. [H, W, 3]."""
    y, x = np.linspace(-1, 1, LIGHT_STEPS, dtype=np.float32)[:, None], np.linspace(-1, 1, LIGHT_STEPS, dtype=np.float32)
    slope = rng.uniform(-0.18, 0.18) * y + rng.uniform(-0.18, 0.18) * x
    rim = rng.uniform(0, 0.16) * (x * x + y * y)
    shade = rng.uniform(0, 0.12) * smooth_noise(rng, LIGHT_STEPS, LIGHT_STEPS, (LIGHT_STEPS / 2.5, LIGHT_STEPS / 2.5))
    gain = rng.uniform(0.95, 1.35) * (1 + rng.uniform(-0.09, 0.09) * np.array([1, 0, -1], np.float32))
    cast = (1 + slope - rim + shade)[..., None] * gain.astype(np.float32)
    return cv2.resize(cast, (width, height), interpolation=cv2.INTER_LINEAR)

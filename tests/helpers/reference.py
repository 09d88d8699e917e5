"""The reference executor: replays plan rows with OpenCV and float64 NumPy, slowly and by the definitions.

It is the oracle of the tests and an explanation in code. It shares nothing with the graph but the plan: the decoder is
OpenCV's, resampling is a dense weight matrix a side, and colour follows fb.resnet.torch's transforms.lua step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sdali.pipelines.config import INTERPOLATIONS
from sdali.pipelines.plan.colour import GREY
from sdali.pipelines.store.statistics import Statistics


def replay(
    data: bytes | memoryview,
    row: np.void,
    statistics: Statistics,
    size: int | tuple[int, int],
    steps: Sequence[str] | None = None,
) -> np.ndarray:
    """float64 [3, size, size], or [3, *size], normalised: what the graph makes of encoded bytes and one plan row.

    steps: the order of "brightness", "contrast" and "saturation", which must not matter.
    """
    return _appearance(data, row, statistics, (size, size) if isinstance(size, int) else size, steps)


def replay_parsing(
    data: bytes | memoryview, mask: np.ndarray, row: np.void, statistics: Statistics, ignore_index: int
) -> tuple[np.ndarray, np.ndarray]:
    """Image float64 [3, H, W], normalised, and mask uint8 [H, W]: what the parsing graph makes of one row of its plan.

    mask: uint8, of the size of the oriented image.
    """
    y, x, height, width = row["window"]
    top, left, *filled = row["placed"].tolist()
    down, across = (weights(n, m, "nearest").argmax(1) for n, m in zip((height, width), filled, strict=True))
    moved = mask[y : y + height, x : x + width][down][:, across]
    image, out = np.zeros((3, *row["size"])), np.full(row["size"], ignore_index, np.uint8)
    place = (slice(top, top + filled[0]), slice(left, left + filled[1]))
    out[place] = moved[:, ::-1] if row["flip"] else moved
    image[(slice(None), *place)] = _appearance(data, row, statistics, (filled[0], filled[1]))
    return image, out


def _appearance(
    data: bytes | memoryview,
    row: np.void,
    statistics: Statistics,
    size: tuple[int, int],
    steps: Sequence[str] | None = None,
) -> np.ndarray:
    """float64 [3, *size]: the row's window, resized, flipped, coloured and normalised."""
    y, x, height, width = row["window"]
    window = decode(data)[y : y + height, x : x + width]
    resized = np.clip(resize(window, size, INTERPOLATIONS[row["interpolation"]]), 0, 255)
    if row["flip"]:
        resized = resized[:, ::-1]
    image = jitter(resized / 255, row["factors"].astype(np.float64), steps)
    image = image + statistics.lighting @ row["lighting"].astype(np.float64)
    return ((image - statistics.mean) / statistics.std).transpose(2, 0, 1)


def decode(data: bytes | memoryview) -> np.ndarray:
    """uint8 [H, W, 3] RGB, EXIF orientation applied."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return np.asarray(image)[:, :, ::-1]


def jitter(image: np.ndarray, factors: np.ndarray, steps: Sequence[str] | None = None) -> np.ndarray:
    """ColorJitter of fb.resnet.torch on float64 [H, W, 3] in [0, 1], without clamping, one step after the other."""
    named: dict[str, float] = dict(zip(("brightness", "contrast", "saturation"), factors.tolist(), strict=True))
    for step in steps or tuple(named):
        grey = image @ GREY
        others: dict[str, np.ndarray] = {
            "brightness": np.zeros(()),
            "contrast": grey.mean(),
            "saturation": grey[:, :, None],
        }
        other = others[step]
        image = named[step] * image + (1 - named[step]) * other
    return image


def resize(image: np.ndarray, size: int | tuple[int, int], interpolation: str) -> np.ndarray:
    """float64 [*size, 3], or of a square, antialiased where it shrinks, borders replicated, no rounding or clipping."""
    sides = (size, size) if isinstance(size, int) else size
    down, across = (weights(n, m, interpolation) for n, m in zip(image.shape[:2], sides, strict=True))
    return np.einsum("ih,hwc,jw->ijc", down, image.astype(np.float64), across, optimize=True)


def weights(source: int, target: int, interpolation: str) -> np.ndarray:
    """float64 [target, source]: the resampling matrix of one side; rows sum to one."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    if interpolation == "nearest":
        return np.eye(source)[np.floor((np.arange(target) + 0.5) * scale).astype(int)]
    stretch = max(scale, 1.0)
    radius = int(np.ceil(3 * stretch)) + 1
    taps = np.floor(centres)[:, None].astype(int) + np.arange(-radius, radius + 1)
    values = _FILTERS[interpolation]((taps - centres[:, None]) / stretch)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target)[:, None], np.clip(taps, 0, source - 1)), values)
    return matrix / matrix.sum(1, keepdims=True)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution, a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _gaussian(x: np.ndarray) -> np.ndarray:
    """DALI's: standard deviation 1 / (2 sqrt 2), cut off at 1."""
    return np.where(np.abs(x) <= 1, np.exp(-4 * x**2), 0)


_FILTERS = {
    "linear": lambda x: np.maximum(0, 1 - np.abs(x)),
    "cubic": _cubic,
    "lanczos": lambda x: np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0),
    "gaussian": _gaussian,
}

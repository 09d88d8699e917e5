"""What a user may choose about augmentation: frozen dataclasses, checked when they are made.

The defaults are the recipe's: a crop of random area and aspect ratio, an interpolation at random, colour jitter of 0.4
in each of its parts, PCA lighting of 0.1, and a flip of every second image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from numbers import Real
from typing import Literal

import numpy as np

from .errors import InputError

# The largest numbers that options of several modules take, so that a slip of the keyboard ends at once (our choices).
LARGEST_OUTPUT = 1 << 14  # px, a side of what a network sees
LARGEST_SIDE = 65_500  # px, a side of an image: the limit of JPEG
MOST_IN_A_BATCH = 1 << 20
MOST_THREADS = 4096

Interpolation = Literal["nearest", "linear", "cubic", "lanczos", "gaussian"]

TestCrop = Literal["centre", "whole"]
"""What a test sees of an image: a centred square after a resize of the shorter side, or the whole image, squashed."""

INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "linear", "cubic", "lanczos", "gaussian")
"""The kernels that DALI resizes with, antialiased except for nearest. A row of the plan counts in this tuple.

The talk names no set: we take all five that differ. DALI has no box filter, so its Gaussian serves where users of
OpenCV expect "area"; its "triangular" is its antialiased "linear".
"""


@dataclass(frozen=True, kw_only=True)
class _Options:
    """Options that may come from JSON: lists are taken as tuples, and dicts as the options that they hold.

    So Augmentation(**json.loads(json.dumps(dataclasses.asdict(augmentation)))) equals augmentation.
    """

    def __post_init__(self) -> None:
        for option in fields(self):
            value, kind = getattr(self, option.name), option.default_factory
            if isinstance(value, list | np.ndarray):
                object.__setattr__(self, option.name, value := tuple(value))
            if isinstance(value, dict) and isinstance(kind, type):
                object.__setattr__(self, option.name, value := kind(**value))
            if isinstance(kind, type):
                wanted, fits = kind.__name__, isinstance(value, kind)
            else:
                wanted, fits = f"such as {option.default!r}", _is_like(value, option.default)
            if not fits:
                raise InputError(f"{option.name} of {type(self).__name__} must be {wanted}, got {value!r}")


def _is_like(value: object, default: object) -> bool:
    """Whether a value is a number where the default is one, and a tuple of such where the default is a tuple."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_is_like(each, default[0]) for each in value)
    return not isinstance(default, int | float) or (isinstance(value, Real) and not isinstance(value, bool))


@dataclass(frozen=True, kw_only=True)
class Guidance(_Options):
    """How windows follow a heatmap, where there is one."""

    gamma: float = 1.0
    """A cell of the heatmap is drawn with a probability proportional to value ** gamma."""

    p_sda: float = 1.0
    """Share of the windows that follow the heatmap, where there is one; the others are drawn plainly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < float("inf"):
            raise InputError(f"crop gamma must be above 0 and finite, got {self.gamma}")
        if not 0 <= self.p_sda <= 1:
            raise InputError(f"crop p_sda must be within [0, 1], got {self.p_sda}")


@dataclass(frozen=True, kw_only=True)
class Crop(Guidance):
    """How a training window is drawn."""

    kind: Literal["scale_aspect", "scale_jitter"] = "scale_aspect"
    """scale_aspect: a window of random area and aspect ratio; scale_jitter: a square after the shorter side has been
    resized to a random length."""

    area: tuple[float, float] = (0.08, 1.0)
    """Range of the share of the image's area that a scale_aspect window covers, uniform."""

    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Range of width over height of a scale_aspect window."""

    law: Literal["fb", "torchvision"] = "fb"
    """How the aspect ratio is distributed, and which window is taken after ten attempts that do not fit. fb: uniform,
    then the centred square (fb.resnet.torch). torchvision: log-uniform, then the largest centred window within the
    range."""

    offset: Literal["valid", "clamped"] = "valid"
    """Where the window lies. valid: uniform over all offsets at which it fits. clamped: its centre is uniform over the
    image and then moved inside, so that most windows touch a border; this is the control for guided crops."""

    shorter_side: tuple[int, int] = (256, 480)
    """Range of the length to which scale_jitter resizes the shorter side, px (256 to 480 for ResNets, 512 for VGG)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("crop area", self.area, 0, 1)
        _check_range("crop aspect", self.aspect, 0, float("inf"))
        _check_range("crop shorter_side", self.shorter_side, 0, float("inf"))


@dataclass(frozen=True, kw_only=True)
class Colour(_Options):
    """How strongly colours are jittered; 0 switches a part off."""

    brightness: float = 0.4
    """A value of 0.4 draws the factor uniformly from 0.6 to 1.4."""

    contrast: float = 0.4
    """As brightness; the factor scales the distance to the mean grey of the window."""

    saturation: float = 0.4
    """As brightness; the factor scales the distance to the grey of each pixel."""

    lighting: float = 0.1
    """Standard deviation of the coefficients of PCA lighting."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("brightness", "contrast", "saturation", "lighting"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"colour {name} must be 0 or more and finite, got {value}")


LARGEST_SCALE = 1000  # of an image enlarged more, an output would show a pixel or two


@dataclass(frozen=True, kw_only=True)
class ParsingCrop(Guidance):
    """How a training window of scene parsing is drawn: the image is scaled, then cropped, or padded where smaller."""

    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor by which the image is scaled, uniform (our choice)."""

    shorter_side: int | None = None
    """Length of the shorter side at a factor of 1, px. None: the length that it has in the image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_range("crop scale", self.scale, 0, LARGEST_SCALE)
        if self.shorter_side is not None and not (_is_like(self.shorter_side, 1) and self.shorter_side >= 1):
            raise InputError(f"crop shorter_side must be at least 1 px, got {self.shorter_side!r}")


@dataclass(frozen=True, kw_only=True)
class IouCrop(_Options):
    """How a crop of object detection is drawn: at random, but with enough of an object (SSD's, with its numbers)."""

    probability: float = 0.0
    """Share of the images that are cropped; the others are taken whole."""

    least_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    """One of these is drawn for each crop: the box of some object must overlap the window with at least this IoU."""

    side: tuple[float, float] = (0.3, 1.0)
    """Range of the window's height and of its width, each as a share of the image's."""

    aspect: tuple[float, float] = (0.5, 2.0)
    """Range of the window's width over its height, both in pixels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.probability <= 1:
            raise InputError(f"crop probability must be within [0, 1], got {self.probability}")
        if not self.least_ious or not all(0 <= value <= 1 for value in self.least_ious):
            raise InputError(f"crop least_ious must be some numbers within [0, 1], got {self.least_ious}")
        _check_range("crop side", self.side, 0, 1)
        _check_range("crop aspect", self.aspect, 0, float("inf"))


@dataclass(frozen=True, kw_only=True)
class Appearance(_Options):
    """What is random about a sample of any task, apart from its window."""

    colour: Colour = field(default_factory=Colour)
    """How colours are jittered."""

    flip: float = 0.5
    """Probability of a left-right flip."""

    interpolations: tuple[Interpolation, ...] = INTERPOLATIONS
    """Each window is resized with one of these, drawn at random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip must be within [0, 1], got {self.flip}")
        unknown = [name for name in self.interpolations if name not in INTERPOLATIONS]
        if unknown or not self.interpolations:
            raise InputError(f"interpolations must be some of {', '.join(INTERPOLATIONS)}; got {self.interpolations}")


@dataclass(frozen=True, kw_only=True)
class Augmentation(Appearance):
    """Everything random about a sample of classification."""

    crop: Crop = field(default_factory=Crop)
    """How the window is drawn."""


@dataclass(frozen=True, kw_only=True)
class ParsingAugmentation(Appearance):
    """Everything random about a sample of scene parsing; the mask is never interpolated."""

    crop: ParsingCrop = field(default_factory=ParsingCrop)
    """How the window is drawn."""


@dataclass(frozen=True, kw_only=True)
class DetectionAugmentation(Appearance):
    """Everything random about a sample of object detection, apart from its scale."""

    crop: IouCrop = field(default_factory=IouCrop)
    """How the window is drawn."""


def _check_range(name: str, bounds: tuple[float, float], low: float, high: float) -> None:
    if len(bounds) != 2 or not low < bounds[0] <= bounds[1] <= high:
        raise InputError(f"{name} must be two ascending numbers above {low} and at most {high}, got {bounds}")

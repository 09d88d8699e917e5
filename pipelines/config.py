"""What a user may choose about augmentation: frozen dataclasses, checked when made.

Defaults are the recipe's: scale-and-aspect crops, a kernel at random, colour 0.4 each, PCA lighting 0.1, flip 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .errors import InputError

Interpolation = Literal["nearest", "linear", "cubic", "lanczos", "gaussian"]

TestCrop = Literal["centre", "whole"]
"""What a test sees: a centred square after a shorter-side resize, or the whole image squashed."""

INTERPOLATIONS: tuple[Interpolation, ...] = ("nearest", "linear", "cubic", "lanczos", "gaussian")
"""The kernels DALI resizes with, antialiased but for nearest. The plan holds the place in this tuple.

The talk names no set: our choice is all five that differ. DALI has no box filter, so its Gaussian stands where OpenCV
users expect "area"; its "triangular" is its antialiased "linear".
"""


@dataclass(frozen=True, kw_only=True)
class Crop:
    """How a training window is drawn."""

    kind: Literal["scale_aspect", "scale_jitter"] = "scale_aspect"
    """scale_aspect: area and aspect ratio at random; scale_jitter: a square after a random shorter-side resize."""

    area: tuple[float, float] = (0.08, 1.0)
    """Share of the image's area that a scale_aspect window covers, uniform in this range."""

    aspect: tuple[float, float] = (3 / 4, 4 / 3)
    """Width over height of a scale_aspect window, in this range."""

    law: Literal["fb", "torchvision"] = "fb"
    """fb: aspect uniform, centred square after ten failed attempts (fb.resnet.torch). torchvision: aspect log-uniform,
    after ten failed attempts the largest centred window within the aspect range."""

    offset: Literal["valid", "clamped"] = "valid"
    """valid: uniform over the places where the window fits. clamped: the centre uniform over the image, then clamped,
    which leaves most windows flush with a border; the control for guided crops."""

    shorter_side: tuple[int, int] = (256, 480)
    """Range of the shorter side that scale_jitter resizes to before it crops (256 to 480 for ResNets, 512 for VGG)."""

    gamma: float = 1.0
    """A heatmap's cell is drawn with probability proportional to value ** gamma."""

    p_sda: float = 1.0
    """Share of the windows that follow the heatmap, where there is one; the rest are drawn plainly."""

    def __post_init__(self) -> None:
        _check_range("crop area", self.area, 0, 1)
        _check_range("crop aspect", self.aspect, 0, float("inf"))
        _check_range("crop shorter_side", self.shorter_side, 0, float("inf"))
        _check_guidance(self.gamma, self.p_sda)


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How strongly colours are jittered; 0 switches a part off."""

    brightness: float = 0.4
    """Factor uniform in 1 +- this."""

    contrast: float = 0.4
    """Factor uniform in 1 +- this, around the window's mean grey."""

    saturation: float = 0.4
    """Factor uniform in 1 +- this, around each pixel's grey."""

    lighting: float = 0.1
    """Standard deviation of the PCA lighting coefficients."""

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "lighting"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"colour {name} must be 0 or more and finite, got {value}")


LARGEST_SCALE = 1000  # our choice: of an image so enlarged, an output shows a pixel or two


@dataclass(frozen=True, kw_only=True)
class ParsingCrop:
    """How a training window of scene parsing is drawn: the image is scaled, then cropped, or padded where smaller."""

    scale: tuple[float, float] = (0.5, 2.0)
    """Range of the factor by which the image is scaled, uniform (our choice)."""

    shorter_side: int | None = None
    """Length of the shorter side that a factor of 1 means, px. None: the image's own."""

    gamma: float = 1.0
    """A heatmap's cell is drawn with probability proportional to value ** gamma."""

    p_sda: float = 1.0
    """Share of the windows that follow the heatmap, where there is one; the rest are drawn plainly."""

    def __post_init__(self) -> None:
        _check_range("crop scale", self.scale, 0, LARGEST_SCALE)
        if self.shorter_side is not None and self.shorter_side < 1:
            raise InputError(f"crop shorter_side must be at least 1 px, got {self.shorter_side}")
        _check_guidance(self.gamma, self.p_sda)


@dataclass(frozen=True, kw_only=True)
class IouCrop:
    """How a crop of object detection is drawn: at random, but with enough of an object (SSD's, with its numbers)."""

    probability: float = 0.0
    """Share of the samples that are cropped; the others are whole."""

    least_ious: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    """One of these is drawn: some object's box must overlap the window with at least this IoU."""

    side: tuple[float, float] = (0.3, 1.0)
    """Range of height and width, each as a share of the image's."""

    aspect: tuple[float, float] = (0.5, 2.0)
    """Range of width over height, px."""

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(f"crop probability must be within [0, 1], got {self.probability}")
        if not self.least_ious or not all(0 <= value <= 1 for value in self.least_ious):
            raise InputError(f"crop least_ious must be some numbers within [0, 1], got {self.least_ious}")
        _check_range("crop side", self.side, 0, 1)
        _check_range("crop aspect", self.aspect, 0, float("inf"))


@dataclass(frozen=True, kw_only=True)
class Appearance:
    """What is random about any sample but its window."""

    colour: Colour = field(default_factory=Colour)
    """How colours are jittered."""

    flip: float = 0.5
    """Probability of a left-right flip."""

    interpolations: tuple[Interpolation, ...] = INTERPOLATIONS
    """Each window is resized with one of these, drawn at random."""

    def __post_init__(self) -> None:
        if not 0 <= self.flip <= 1:
            raise InputError(f"flip must be within [0, 1], got {self.flip}")
        unknown = [name for name in self.interpolations if name not in INTERPOLATIONS]
        if unknown or not self.interpolations:
            raise InputError(f"interpolations must be some of {', '.join(INTERPOLATIONS)}; got {self.interpolations}")


@dataclass(frozen=True, kw_only=True)
class Augmentation(Appearance):
    """Everything random about a classification sample."""

    crop: Crop = field(default_factory=Crop)
    """How the window is drawn."""


@dataclass(frozen=True, kw_only=True)
class ParsingAugmentation(Appearance):
    """Everything random about a sample of scene parsing; the interpolations are the image's, the mask's is nearest."""

    crop: ParsingCrop = field(default_factory=ParsingCrop)
    """How the window is drawn."""


@dataclass(frozen=True, kw_only=True)
class DetectionAugmentation(Appearance):
    """Everything random about a sample of object detection but its scale."""

    crop: IouCrop = field(default_factory=IouCrop)
    """How the window is drawn."""


def _check_guidance(gamma: float, p_sda: float) -> None:
    if not 0 < gamma < float("inf"):
        raise InputError(f"crop gamma must be above 0 and finite, got {gamma}")
    if not 0 <= p_sda <= 1:
        raise InputError(f"crop p_sda must be within [0, 1], got {p_sda}")


def _check_range(name: str, bounds: tuple[float, float], low: float, high: float) -> None:
    if len(bounds) != 2 or not low < bounds[0] <= bounds[1] <= high:
        raise InputError(f"{name} must be two ascending numbers above {low} and at most {high}, got {bounds}")

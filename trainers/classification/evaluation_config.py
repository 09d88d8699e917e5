"""What a user may choose about testing a trained classifier; the command line is made from these."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...pipelines.config import LARGEST_OUTPUT, MOST_IN_A_BATCH, MOST_THREADS, TestCrop
from ...pipelines.errors import InputError
from ...pipelines.plan.classification import MOST_VIEWS, TEN
from ..core.checks import check_choice, check_count, take_python_numbers
from ..core.machine import Precision
from ..core.sides import Sides


@dataclass(frozen=True, kw_only=True)
class TestConfig:
    """A trained classifier, and the images to try it on."""

    __test__ = False  # pytest would collect it where it is imported

    checkpoint: Path
    """last.pt or best.pt of a run; the average of the weights is used where there is one."""

    store: Path
    """Image store with the classes that the model was trained on."""

    batch_size: int = 64
    """Images, or views of images, at a time, on each rank."""

    size: int | None = None
    """Side of the network's input, pixels. None: as trained."""

    crop: TestCrop | None = None
    """centre: shorter-side resize to size / 0.875, centre crop; whole: the whole image squashed. None: as in training's
    evaluations."""

    precision: Precision = "auto"
    """Of the forward pass; auto: bfloat16 where the GPU or CPU has arithmetic for it, else float32."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: its share of the cores."""

    def __post_init__(self) -> None:
        take_python_numbers(self)
        check_count("batch_size", self.batch_size, MOST_IN_A_BATCH)
        check_count("size", self.size, LARGEST_OUTPUT)
        check_count("threads", self.threads, MOST_THREADS)
        check_choice("precision", self.precision, Precision)
        if self.crop is not None:
            check_choice("crop", self.crop, TestCrop)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(TestConfig):
    """Evaluate a trained classifier on an image store; what several views, scales and networks say is averaged."""

    crops: int = 1
    """Views of each image: 1 as `crop` says; 10: corners and centre, also mirrored; any other number: random windows
    drawn as in training, such as 32."""

    scales: Sides = ()
    """Sides of the network's input that are all tried, such as 224,256,288. None: size alone."""

    flip: bool = False
    """Try the mirror image of each view too."""

    checkpoints: str | None = None
    """last3: the last three networks of the run that lie beside --checkpoint (sdali train --keep-every), in its place.
    None: --checkpoint alone."""

    predictions: Path | None = None
    """Keep what every network says of every view, for sdali ensemble, in this file (HDF5)."""

    picture: Path | None = None
    """Draw the confusion matrix into this PNG."""

    overwrite: bool = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("crops", self.crops, MOST_VIEWS)
        for side in self.scales:
            check_count("scales", side, LARGEST_OUTPUT)
        if len(set(self.scales)) < len(self.scales):
            raise InputError(f"scales must differ, got {', '.join(map(str, self.scales))}")
        if self.scales and self.size is not None:
            raise InputError("scales and size both give the network's input; give one of them")
        if self.flip and self.crops == TEN:
            raise InputError("the ten crops hold their mirror images already; leave --flip out")
        if self.checkpoints is not None and not re.fullmatch("last[1-9][0-9]*", self.checkpoints):
            raise InputError(f"checkpoints must be last and a number, such as last3, got {self.checkpoints!r}")

    @property
    def views(self) -> str:
        """What the views of an image are, for people."""
        views = {1: "the view of --crop", TEN: "ten crops"}.get(self.crops, f"{self.crops} random windows")
        return f"{views}, also mirrored" if self.flip else views


@dataclass(frozen=True, kw_only=True)
class ConfusionConfig(TestConfig):
    """Measure which classes a trained classifier confuses, on images that it was not trained on."""

    out: Path
    """The file to write (HDF5), for `sdali train classification --soft-labels`."""

    overwrite: bool = False
    """Replace the file if it exists."""

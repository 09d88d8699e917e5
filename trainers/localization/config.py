"""What a user may choose about object localization; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...pipelines.config import MOST_IN_A_BATCH, MOST_THREADS
from ...pipelines.errors import InputError
from ...pipelines.plan.classification import MOST_VIEWS
from ..core.checks import check_choice, check_count, check_threshold, take_python_numbers
from ..core.machine import Precision
from ..core.sides import Sides
from ..detection import config as detection_config
from ..detection.config import check_sides
from .answers import MOST


@dataclass(frozen=True, kw_only=True)
class TrainConfig(detection_config.TrainConfig):
    """Train a detector for object localization: every image has a class and boxes of it, most have one box."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate object localization: a classifier's best classes, each with a detector's box; or a file of answers."""

    store: Path
    """Store of images with a class and boxes of it."""

    classifier: tuple[Path, ...] = ()
    """Classification checkpoint (last.pt or best.pt), or several, whose softmax is averaged. The first one's activation
    maps are the baseline of boxes."""

    detector: tuple[Path, ...] = ()
    """Detection checkpoint, or several: their proposals are fused, all score the same ones, and scores and boxes are
    averaged."""

    classifier_crops: int = 1
    """Views of each image that the classifiers see: 1 as in training's evaluations; 10: corners and centre, also
    mirrored; any other number: random windows drawn as in training, such as 32."""

    scales: Sides = ()
    """Shorter sides of the images that the detectors see, all of them tried, pixels. None: as in the evaluations of the
    first detector's training."""

    flip: bool = False
    """Show the detectors mirror images too."""

    voting: float | None = 0.5
    """Box voting: a box moves to the mean of those of its class that overlap it by this IoU or more. None: no
    voting."""

    top: int | None = None
    """Answers to an image, 5 at most, of which one must be right. None: 5 of more than 10 classes, else 1."""

    answers: Path | None = None
    """Write the answers into this file, as text of ILSVRC's development kit."""

    read: Path | None = None
    """Count the answers in such a file, in place of a classifier's and a detector's."""

    picture: Path | None = None
    """Draw a few right and wrong answers, and what is wrong with them, into this PNG."""

    overwrite: bool = False
    """Replace files that exist."""

    batch_size: int = 64
    """Images, or views of images, that the classifiers see at a time, on each rank."""

    precision: Precision = "auto"
    """Of the forward pass; auto: bfloat16 where the GPU or CPU has arithmetic for it, else float32."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: its share of the cores."""

    def __post_init__(self) -> None:
        take_python_numbers(self)
        check_count("classifier_crops", self.classifier_crops, MOST_VIEWS)
        check_count("top", self.top)
        check_count("batch_size", self.batch_size, MOST_IN_A_BATCH)
        check_count("threads", self.threads, MOST_THREADS)
        check_choice("precision", self.precision, Precision)
        if self.top is not None and self.top > MOST:
            raise InputError(
                f"top must be at most {MOST}, of which the development kit's files have room, got {self.top}"
            )
        if self.scales:
            check_sides("scales", self.scales)
        if self.voting is not None:
            check_threshold("voting", self.voting)
        if self.read is None and not (self.classifier and self.detector):
            raise InputError("localization needs a classifier and a detector, or read, a file of answers; give them")
        if self.read is not None and (self.classifier or self.detector or self.answers):
            raise InputError("read takes the place of classifier, detector and answers; give the one or the others")

    def answers_of(self, classes: int) -> int:
        """How many answers to an image; raises InputError where the label would always be among them."""
        top = self.top or (MOST if classes > 2 * MOST else 1)
        if top >= classes:
            raise InputError(
                f"top {top} of the {classes} classes of {self.store} would always hold the label; give top at most "
                f"{classes - 1}"
            )
        return top

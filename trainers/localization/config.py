"""The options of object localization; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...pipelines.config import MOST_IN_A_BATCH
from ...pipelines.errors import InputError
from ...pipelines.plan.classification import MOST_VIEWS
from ..core.checks import check_count, check_threshold
from ..core.config import EvaluationConfig
from ..detection import config as detection_config
from ..detection.config import check_sides
from .predictions import MOST


@dataclass(frozen=True, kw_only=True)
class TrainConfig(detection_config.TrainConfig):
    """Train a detector for object localization: every image has a class and boxes of it, most images one box."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EvaluationConfig):
    """Evaluate object localization: a classifier's best classes, each with a detector's box; or a file of predictions.

    Every image of the store needs a class and a box of it.
    """

    classifier: tuple[Path, ...] = ()
    """Classification checkpoint (last.pt or best.pt), or several, whose softmax is averaged. A baseline takes its boxes
    from the activation maps of the first."""

    detector: tuple[Path, ...] = ()
    """Detection checkpoint, or several: the proposals of all are pooled, every detector scores all of them, and scores
    and boxes are averaged."""

    classifier_crops: int = 1
    """Views of each image for the classifiers. 1: as in the evaluations of the training run; 10: corners and centre,
    also mirrored; another number, such as 32: as many random windows, drawn as in training."""

    scales: tuple[int, ...] = ()
    """Shorter sides of the images for the detectors, pixels, which are all tried. None: as in the evaluations of the
    first detector's training run."""

    flip: bool = False
    """Also show the detectors the mirror image at each scale."""

    voting: float | None = 0.5
    """Box voting: a box moves to the mean of the boxes of its class whose IoU with it is this or more. None: no
    voting."""

    top: int | None = None
    """Predictions for each image, at most 5, of which one must be right. None: 5 where there are more than 10 classes,
    else 1."""

    answers: Path | None = None
    """Write the predictions into this file, in the text format of ILSVRC's development kit."""

    read: Path | None = None
    """Evaluate the predictions in this file, of the same format, in place of those of a classifier and a detector."""

    picture: Path | None = None
    """Draw a few right and wrong predictions, and what is wrong with them, into this PNG."""

    batch_size: int = 64
    """Images, or views of images, at a time for the classifiers, on each rank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("classifier_crops", self.classifier_crops, MOST_VIEWS)
        check_count("top", self.top)
        check_count("batch_size", self.batch_size, MOST_IN_A_BATCH)
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

    def predictions_of(self, classes: int) -> int:
        """The number of predictions for each image; raises InputError where the label would always be among them."""
        top = self.top or (MOST if classes > 2 * MOST else 1)
        if top >= classes:
            raise InputError(
                f"top {top} of the {classes} classes of {self.store} would always hold the label; give top at most "
                f"{classes - 1}"
            )
        return top

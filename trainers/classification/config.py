"""The options of training and evaluating a classifier; the command line is made from these."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_OUTPUT, MOST_IN_A_BATCH, Augmentation, TestCrop
from ...pipelines.errors import InputError
from ...pipelines.loader.soft_labels import SoftLabels
from ...pipelines.plan.classification import MOST_VIEWS, TEN
from ..core.checks import check_choice, check_count, check_differ, check_share
from ..core.config import EvaluationConfig, TrainingConfig, yes
from ..models.classification.arguments import format_arguments, parse_arguments

OrderName = Literal["shuffle", "label_shuffle", "class_aware", "repeat_factor"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a classifier on an image store."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """Heatmap store of the training images, which the crops then follow (supervised data augmentation). None: crops
    are drawn without heatmaps."""

    model: str = "resnet18"
    """Name of a timm model, or convnet4, a small network for tests and demonstrations. It starts from random
    weights."""

    model_args: tuple[str, ...] = ()
    """Further arguments of the model, for timm: key=value words such as drop_rate=0.2 or layers=3,4,11,3."""

    size: int = 224
    """Side of the network's square input, pixels."""

    sizes: tuple[int, ...] = ()
    """Multi-scale training: the side of the input is drawn from these for each step. Evaluations and epochs without
    augmentation use --size. None: --size always."""

    order: OrderName = "shuffle"
    """In which order images come. shuffle: every image once an epoch; label_shuffle: every class as often as the
    largest; class_aware: the classes in turn; repeat_factor: images of rare classes more often."""

    plain_epochs: int = 0
    """Number of last epochs without augmentation other than the flip, so that training ends on the scale and colours of
    the test images."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes."""

    soft_labels: Path | None = None
    """File that sdali confusion has written: part of each target goes to the classes that the label is confused with.
    None: one-hot targets."""

    soft: SoftLabels = field(default_factory=SoftLabels)
    """How the targets are made from --soft-labels."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)
    """Everything random about a training image."""

    test_crop: TestCrop = "centre"
    """What evaluations see. centre: the shorter side is resized to size / 0.875 and the centre cropped; whole: the
    whole image is squashed to the input."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("size", self.size, LARGEST_OUTPUT)
        check_share("label_smoothing", self.label_smoothing)
        check_choice("order", self.order, OrderName)
        parse_arguments(self.model_args)
        if not 0 <= self.plain_epochs <= self.epochs:
            raise InputError(
                f"plain_epochs must be from 0 to epochs ({self.epochs}), got {self.plain_epochs}; lower it too"
            )
        for side in self.sizes:
            check_count("sizes", side, LARGEST_OUTPUT)
        check_differ("sizes", self.sizes)
        if self.soft_labels is None and self.soft != SoftLabels():
            raise InputError("soft.eps, soft.top and the like have no effect without soft_labels; give that file too")
        if self.soft_labels is not None and self.label_smoothing:
            raise InputError(
                f"label_smoothing {self.label_smoothing} and soft_labels both soften the target; set one to 0 or None"
            )
        check_choice("test_crop", self.test_crop, TestCrop)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, under names for people."""
        return {
            "model": self.model,
            "model_args": format_arguments(self.model_arguments),
            "size": self.size,
            **super().identity,
            "order": self.order,
            "soft labels": yes(self.soft_labels),
            "heatmaps": yes(self.heatmaps),
        }

    @property
    def model_arguments(self) -> dict[str, Any]:
        """`model_args` as keyword arguments."""
        return parse_arguments(self.model_args)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(EvaluationConfig):
    """A trained classifier, and the images to try it on."""

    checkpoint: Path
    """last.pt or best.pt of a run. The moving average of the weights is used where the run has one."""

    batch_size: int = 64
    """Images, or views of images, at a time, on each rank."""

    size: int | None = None
    """Side of the network's square input, pixels. None: as in training."""

    crop: TestCrop | None = None
    """What the network sees. centre: the shorter side is resized to size / 0.875 and the centre cropped; whole: the
    whole image is squashed to the input. None: as in the evaluations of the training run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("batch_size", self.batch_size, MOST_IN_A_BATCH)
        check_count("size", self.size, LARGEST_OUTPUT)
        if self.crop is not None:
            check_choice("crop", self.crop, TestCrop)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(ClassifierConfig):
    """Evaluate a trained classifier on an image store; the softmax of all views, scales and networks is averaged."""

    crops: int = 1
    """Views of each image. 1: the one of --crop; 10: corners and centre, also mirrored; another number, such as 32: as
    many random windows, drawn as in training."""

    scales: tuple[int, ...] = ()
    """Sides of the network's input that are all tried, such as 224,256,288. None: --size alone."""

    flip: bool = False
    """Also try the mirror image of each view."""

    checkpoints: str | None = None
    """last3 evaluates, in place of --checkpoint, the last three networks that lie beside it (sdali train
    --keep-every); any other number works alike. None: --checkpoint alone."""

    predictions: Path | None = None
    """Write the softmax of every network and view into this file (HDF5), for sdali ensemble."""

    picture: Path | None = None
    """Draw the confusion matrix into this PNG."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("crops", self.crops, MOST_VIEWS)
        for side in self.scales:
            check_count("scales", side, LARGEST_OUTPUT)
        check_differ("scales", self.scales)
        if self.scales and self.size is not None:
            raise InputError("scales and size both give the network's input; give one of them")
        if self.flip and self.crops == TEN:
            raise InputError("the ten crops hold their mirror images already; leave flip out")
        if self.checkpoints is not None and not re.fullmatch("last[1-9][0-9]*", self.checkpoints):
            raise InputError(f"checkpoints must be last and a number, such as last3, got {self.checkpoints!r}")

    @property
    def views(self) -> str:
        """What the views of an image are, for people."""
        views = {1: "the view of --crop", TEN: "ten crops"}.get(self.crops, f"{self.crops} random windows")
        return f"{views}, also mirrored" if self.flip else views


@dataclass(frozen=True, kw_only=True)
class ConfusionConfig(ClassifierConfig):
    """Measure which classes a trained classifier confuses, on images that it was not trained on."""

    out: Path
    """File to write (HDF5), for sdali train classification --soft-labels."""

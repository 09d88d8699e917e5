"""What a user may choose about training a classifier; the command line is made from this."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_OUTPUT, Augmentation, TestCrop
from ...pipelines.errors import InputError
from ...pipelines.loader.soft_labels import SoftLabels
from ..core.checks import check_choice, check_count, check_share
from ..core.config import TrainingConfig, yes
from ..core.sides import Sides
from ..models.classification.arguments import format_arguments, parse_arguments

OrderName = Literal["shuffle", "label_shuffle", "class_aware", "repeat_factor"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a classifier on an image store."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """Heatmap store of the training images: windows follow it (SDA). None: plain crops."""

    model: str = "resnet18"
    """Any timm model by name, or convnet4, a small one for tests and demonstrations. It starts untrained."""

    model_args: tuple[str, ...] = ()
    """The model's own arguments, for timm: key=value words such as drop_rate=0.2 or layers=3,4,11,3."""

    size: int = 224
    """Side of the network's input, pixels."""

    sizes: Sides = ()
    """Multi-scale training: each step has one of these sides, drawn at random. Evaluations and plain epochs keep size.
    None: size alone."""

    order: OrderName = "shuffle"
    """shuffle: every image once an epoch; label_shuffle: every class as often as the largest; class_aware: classes in
    turn; repeat_factor: images of rare classes more often."""

    plain_epochs: int = 0
    """Last epochs without augmentation, but for the flip: training ends on the scale and colours of the test."""

    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""

    soft_labels: Path | None = None
    """What sdali confusion wrote: targets lean towards the classes that the label is confused with. None: one-hot."""

    soft: SoftLabels = field(default_factory=SoftLabels)
    """How soft_labels become targets."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)
    """Everything random about a training image."""

    test_crop: TestCrop = "centre"
    """centre: shorter-side resize to size / 0.875, centre crop; whole: the whole image squashed to the input."""

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
            check_count("sizes", side)
        if len(set(self.sizes)) < len(self.sizes):
            raise InputError(f"sizes must differ, got {', '.join(map(str, self.sizes))}")
        if self.soft_labels is None and self.soft != SoftLabels():
            raise InputError("soft.eps, soft.top and their like have no effect without soft_labels; give that file too")
        if self.soft_labels is not None and self.label_smoothing:
            raise InputError(
                f"label_smoothing {self.label_smoothing} and soft_labels both soften the target; set one to 0 or None"
            )
        check_choice("test_crop", self.test_crop, TestCrop)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, by names for people."""
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

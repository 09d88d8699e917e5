"""The options of training and evaluating a network of scene parsing; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_OUTPUT, ParsingAugmentation
from ...pipelines.errors import InputError
from ..core.checks import check_choice, check_count, check_differ, check_least
from ..core.config import EvaluationConfig, Schedule, TrainingConfig, flattened, yes
from ..models.parsing.network import ParsingConfig

Balance = Literal["none", "median_frequency"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a network of scene parsing on a store of images and masks."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """Heatmap store of the training images, which the crops then follow (supervised data augmentation). None: crops
    are drawn without heatmaps."""

    network: Annotated[ParsingConfig, arg(name="")] = field(default_factory=ParsingConfig)
    """Backbone and head."""

    backbone_weights: Path | None = None
    """Classification checkpoint (last.pt or best.pt) whose weights the backbone starts from. None: random weights."""

    batch_size: int = 16
    """Images in each step, on each rank (process)."""

    size: tuple[int, int] = (473, 473)
    """Height and width of the training windows, pixels."""

    schedule: Schedule = "poly"
    """How the learning rate falls after the warm-up. cosine: along half a cosine to 0; poly: as (1 - the share of the
    run that is done) to the power of 0.9; step: to a tenth after 2/3 of the run, and again after 8/9."""

    class_balance: Balance = "none"
    """Weight of each pixel in the loss. none: 1; median_frequency: the median of the classes' frequencies divided by
    the frequency of the pixel's class (SegNet)."""

    auxiliary_weight: float = 0.4
    """Weight of the auxiliary head's loss (PSPNet)."""

    augmentation: Annotated[ParsingAugmentation, arg(name="")] = field(default_factory=ParsingAugmentation)
    """Everything random about a training image. Where crop.shorter_side is given, evaluations resize to it too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in self.size:
            check_count("size", side, LARGEST_OUTPUT)
        check_least("auxiliary_weight", self.auxiliary_weight, 0)
        check_choice("class_balance", self.class_balance, Balance)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, under names for people."""
        return {**flattened(self.network), **super().identity, "heatmaps": yes(self.heatmaps)}


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EvaluationConfig):
    """Evaluate a network of scene parsing on whole images; predictions are compared at the images' original size."""

    checkpoint: Path
    """last.pt or best.pt of a run. The moving average of the weights is used where the run has one."""

    scales: tuple[float, ...] = (1.0,)
    """Factors by which images are scaled, relative to the size in the evaluations of the training run. The softmax of
    all of them is averaged."""

    flip: bool = False
    """Also try the mirror image at each scale."""

    predictions: Path | None = None
    """Write the predictions into this folder: under each image's name a PNG of class indices with a palette."""

    picture: Path | None = None
    """Draw a few images, their masks, the predictions and where these are wrong into this PNG."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.scales or not all(0 < scale < float("inf") for scale in self.scales):
            raise InputError(f"scales must be numbers above 0, got {' '.join(map(str, self.scales)) or 'none'}")
        check_differ("scales", self.scales)

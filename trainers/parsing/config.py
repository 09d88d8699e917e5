"""What a user may choose about training and testing a network of scene parsing; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_OUTPUT, MOST_THREADS, ParsingAugmentation
from ...pipelines.errors import InputError
from ..core.checks import check_choice, check_count, check_least, take_python_numbers
from ..core.config import TrainingConfig, yes
from ..core.machine import Precision
from ..core.resume import plain
from ..core.schedule import Schedule
from ..models.parsing.network import ParsingConfig

Balance = Literal["none", "median_frequency"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a network of scene parsing on a store of images and masks."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """Heatmap store of the training images: windows follow it (SDA). None: plain crops."""

    network: Annotated[ParsingConfig, arg(name="")] = field(default_factory=ParsingConfig)
    """Backbone and head."""

    backbone_weights: Path | None = None
    """Classification checkpoint (last.pt or best.pt) that the backbone starts from. None: random weights."""

    batch_size: int = 16
    """Images a step, on each rank."""

    size: tuple[int, int] = (473, 473)
    """Height and width of the training windows, pixels."""

    schedule: Schedule = "poly"
    """How the learning rate falls: cosine, poly, (1 - done) to the power of 0.9, or step, by 10 at 2/3 and 8/9."""

    class_balance: Balance = "none"
    """Weight of a pixel in the loss; median_frequency: median frequency of the classes by its own (SegNet)."""

    auxiliary_weight: float = 0.4
    """Of the auxiliary head's loss (PSPNet)."""

    augmentation: Annotated[ParsingAugmentation, arg(name="")] = field(default_factory=ParsingAugmentation)
    """Everything random about a training image. crop.shorter_side, where given, is the side in evaluations too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in self.size:
            check_count("size", side, LARGEST_OUTPUT)
        check_least("auxiliary_weight", self.auxiliary_weight, 0)
        check_choice("class_balance", self.class_balance, Balance)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, by names for people."""
        return {**plain(self.network), **super().identity, "heatmaps": yes(self.heatmaps)}


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate a network of scene parsing: whole images, predictions compared at their original size."""

    checkpoint: Path
    """last.pt or best.pt of a run; the average of the weights is used where there is one."""

    store: Path
    """Store of images and masks with the classes that the network was trained on."""

    scales: tuple[float, ...] = (1.0,)
    """Factors on the size that training evaluated at; what the network says at each of them is averaged."""

    flip: bool = False
    """Try mirror images too."""

    predictions: Path | None = None
    """Write the predictions into this folder, PNG of class indices under the images' names."""

    picture: Path | None = None
    """Draw a few images, their masks, the predictions and where these are wrong into this PNG."""

    overwrite: bool = False
    """Replace files that exist."""

    precision: Precision = "auto"
    """Of the forward pass; auto: bfloat16 where the GPU or CPU has arithmetic for it, else float32."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: its share of the cores."""

    def __post_init__(self) -> None:
        take_python_numbers(self)
        check_count("threads", self.threads, MOST_THREADS)
        check_choice("precision", self.precision, Precision)
        if not self.scales or not all(0 < scale < float("inf") for scale in self.scales):
            raise InputError(f"scales must be numbers above 0, got {' '.join(map(str, self.scales)) or 'none'}")
        if len(set(self.scales)) < len(self.scales):
            raise InputError(f"scales must differ, got {' '.join(map(str, self.scales))}")

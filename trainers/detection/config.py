"""What a user may choose about training and testing a detector; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_SIDE, MOST_THREADS, DetectionAugmentation
from ...pipelines.detection import SidePer
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import at_most
from ..core.checks import check_choice, check_count, check_share, check_threshold, take_python_numbers
from ..core.config import TrainingConfig, yes
from ..core.machine import Precision
from ..core.resume import plain
from ..core.schedule import Schedule
from ..core.sides import Sides
from ..models.detection.network import DetectionConfig

OrderName = Literal["shuffle", "class_balanced", "repeat_factor", "label_shuffle"]

SMALLEST_SIDE = 64  # px: two cells of stride 32, without which norms have nothing to average


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a detector on a store of images with objects; difficult ones are left out."""

    network: Annotated[DetectionConfig, arg(name="")] = field(default_factory=DetectionConfig)
    """Backbone, head, and the parts of the talk."""

    start_from: Path | None = None
    """Checkpoint (last.pt or best.pt) whose weights the network starts from where they fit: a detector's, of any
    classes, or a classifier's, of the same backbone. None: random weights."""

    batch_size: int = 2
    """Images a step, on each rank."""

    shorter_side: Sides = (600,)
    """Shorter side of the images, pixels; of several, one is drawn each time: multi-scale training. Evaluations take
    the middle one."""

    longer_side: int = 1000
    """No side of an image gets longer than this, pixels."""

    side_per: SidePer = "step"
    """Whether the shorter side is drawn for each step, or for each sample."""

    order: OrderName = "shuffle"
    """shuffle: every image once an epoch; class_balanced: a class at random, then one of its images; repeat_factor:
    images of rare classes more often; label_shuffle: every class as often as the largest."""

    lr: float | None = None
    """Peak learning rate. None: for sgd 0.02 an each 16 images of a step over all ranks (Detectron), for adamw 0.001
    times the square root of their number of 256s (our choice)."""

    schedule: Schedule = "step"
    """How the learning rate falls: cosine, poly, (1 - done) to the power of 0.9, or step, by 10 at 2/3 and 8/9."""

    augmentation: Annotated[DetectionAugmentation, arg(name="")] = field(default_factory=DetectionAugmentation)
    """Everything random about a training image."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sides("shorter_side", self.shorter_side)
        check_side("longer_side", self.longer_side)
        check_choice("side_per", self.side_per, SidePer)
        check_choice("order", self.order, OrderName)

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, by names for people."""
        return {**plain(self.network), **super().identity, "order": self.order, "start": yes(self.start_from)}

    @property
    def tested_side(self) -> int:
        """Shorter side in evaluations, pixels."""
        return sorted(self.shorter_side)[len(self.shorter_side) // 2]

    def peak_learning_rate(self, world_size: int) -> float:
        if self.lr is None and self.optimizer == "sgd":
            return 0.02 * self.batch_size * world_size / 16
        return super().peak_learning_rate(world_size)


@dataclass(frozen=True, kw_only=True)
class DetectionRules:
    """Which proposals are looked at, and which of what is said of them is a detection: average precision depends on
    all of it.
    """

    proposals: int = 300
    """Of an image, at most, that are classified; a network makes no more than its own rpn.proposals in a view."""

    proposal_nms: float = 0.7
    """IoU with a better proposal, of any network, scale or mirror image, above which one is dropped."""

    score_threshold: float = 0.01
    """Detections score more than this. Our choice: low, since average precision only gains by more of them."""

    nms: float = 0.5
    """IoU with a better detection of its class above which one is dropped."""

    detections: int = 100
    """Of an image, at most; COCO counts no more of a class."""

    voting: float | None = None
    """Box voting: a detection moves to the mean of the boxes of its class that overlap it by this IoU or more, 0.5 in
    the paper. None: no voting."""

    def __post_init__(self) -> None:
        check_count("proposals", self.proposals)
        check_count("detections", self.detections)
        check_share("score_threshold", self.score_threshold)
        for name in ("proposal_nms", "nms", "voting"):
            if (value := getattr(self, name)) is not None:
                check_threshold(name, value)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Evaluate detectors: whole images, boxes compared in the originals; what views and networks say is fused."""

    checkpoint: tuple[Path, ...]
    """last.pt or best.pt of a run, or several: the proposals of all are fused, then all score the same ones, and
    scores and boxes are averaged. The average of the weights is used where there is one."""

    store: Path
    """Store of images with objects, of the classes that the networks were trained on."""

    scales: Sides = ()
    """Shorter sides of the images that are all tried, pixels; the limit of the longer side grows with them. None: as in
    the evaluations of the first network's training."""

    flip: bool = False
    """Try mirror images too."""

    rules: Annotated[DetectionRules, arg(name="")] = field(default_factory=DetectionRules)
    """Thresholds and limits."""

    predictions: Path | None = None
    """Write the detections into this file, JSON in COCO's results format."""

    picture: Path | None = None
    """Draw a few images, their objects and what was found into this PNG."""

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
        if not self.checkpoint:
            raise InputError("checkpoint must be one file or several, got none")
        if self.scales:
            check_sides("scales", self.scales)


def check_sides(name: str, sides: tuple[int, ...]) -> None:
    """Raise InputError unless there is one, and all differ and are large enough."""
    if not sides:
        raise InputError(f"{name} must be one side or several, got none")
    for side in sides:
        check_side(name, side)
    if len(set(sides)) < len(sides):
        raise InputError(f"{name} must differ, got {', '.join(map(str, sides))}")


def check_side(name: str, side: int) -> None:
    """Raise InputError for less than SMALLEST_SIDE, and for more than any image has."""
    if side < SMALLEST_SIDE:
        raise InputError(f"{name} must be at least {SMALLEST_SIDE} px, got {side}")
    at_most(name, side, LARGEST_SIDE)

"""The options of training and evaluating a detector; the command line is made from these."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from ...pipelines.config import LARGEST_SIDE, DetectionAugmentation
from ...pipelines.detection import SidePer
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import at_most
from ..core.checks import check_choice, check_count, check_differ, check_share, check_threshold
from ..core.config import EvaluationConfig, Schedule, TrainingConfig, flattened, yes
from ..models.detection.network import DetectionConfig

OrderName = Literal["shuffle", "class_balanced", "repeat_factor", "label_shuffle"]

SMALLEST_SIDE = 64  # px: two cells of stride 32, without which norms have nothing to average


@dataclass(frozen=True, kw_only=True)
class TrainConfig(TrainingConfig):
    """Train a detector on a store of images with objects; objects marked difficult are left out."""

    network: Annotated[DetectionConfig, arg(name="")] = field(default_factory=DetectionConfig)
    """Backbone, head, and the parts of the talk."""

    start_from: Path | None = None
    """Checkpoint (last.pt or best.pt) of a detector or classifier with the same backbone, whose weights the network
    starts from as far as they fit; its classes may be others. None: random weights."""

    batch_size: int = 2
    """Images in each step, on each rank (process)."""

    shorter_side: tuple[int, ...] = (600,)
    """Shorter side of the images, pixels. Of several one is drawn each time (multi-scale training); evaluations use the
    middle one."""

    longer_side: int = 1000
    """Limit of the longer side, pixels: an image that would exceed it is made smaller."""

    side_per: SidePer = "step"
    """Whether the shorter side is drawn once for each step or for each sample."""

    order: OrderName = "shuffle"
    """In which order images come. shuffle: every image once an epoch; class_balanced: a class at random, then one of
    its images; repeat_factor: images of rare classes more often; label_shuffle: every class as often as the largest."""

    lr: float | None = None
    """Peak learning rate. None: it follows from the number of images in a step over all ranks: for sgd 0.02 for every
    16 images (Detectron), for adamw 0.001 times the square root of images / 256 (our choice)."""

    schedule: Schedule = "step"
    """How the learning rate falls after the warm-up. cosine: along half a cosine to 0; poly: as (1 - the share of the
    run that is done) to the power of 0.9; step: to a tenth after 2/3 of the run, and again after 8/9."""

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
        """What a resumed run cannot change, under names for people."""
        return {**flattened(self.network), **super().identity, "order": self.order, "start": yes(self.start_from)}

    @property
    def tested_side(self) -> int:
        """Shorter side of the images in evaluations, pixels."""
        return sorted(self.shorter_side)[len(self.shorter_side) // 2]

    def peak_learning_rate(self, world_size: int) -> float:
        if self.lr is None and self.optimizer == "sgd":
            return 0.02 * self.batch_size * world_size / 16
        return super().peak_learning_rate(world_size)


@dataclass(frozen=True, kw_only=True)
class DetectionRules:
    """Which proposals are classified, and which of them become detections; average precision depends on all of it."""

    proposals: int = 300
    """Most proposals of an image that are classified; a network makes at most its rpn.proposals in each view."""

    proposal_nms: float = 0.7
    """A proposal is dropped whose IoU with a better one, of any network, scale or mirror image, is above this."""

    score_threshold: float = 0.01
    """Detections must score more than this. Low (our choice), since average precision only gains from more of them."""

    nms: float = 0.5
    """A detection is dropped whose IoU with a better one of its class is above this."""

    detections: int = 100
    """Most detections in an image; COCO counts at most 100 of each class."""

    voting: float | None = None
    """Box voting: a detection moves to the mean of the boxes of its class whose IoU with it is this or more (0.5 in the
    paper). None: no voting."""

    def __post_init__(self) -> None:
        check_count("proposals", self.proposals)
        check_count("detections", self.detections)
        check_share("score_threshold", self.score_threshold)
        for name in ("proposal_nms", "nms", "voting"):
            if (value := getattr(self, name)) is not None:
                check_threshold(name, value)


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EvaluationConfig):
    """Evaluate detectors on whole images; the predictions of all networks and views are fused.

    Boxes are compared in the original images.
    """

    checkpoint: tuple[Path, ...]
    """last.pt or best.pt of a run, or several. The proposals of all networks are pooled, every network scores all of
    them, and scores and boxes are averaged. The moving average of the weights is used where a run has one."""

    scales: tuple[int, ...] = ()
    """Shorter sides of the images, pixels, which are all tried; the limit of the longer side grows with them. None: as
    in the evaluations of the first network's training run."""

    flip: bool = False
    """Also try the mirror image at each scale."""

    rules: Annotated[DetectionRules, arg(name="")] = field(default_factory=DetectionRules)
    """Thresholds and limits."""

    predictions: Path | None = None
    """Write the detections into this file, JSON in COCO's results format: the ids and pixels are those of the COCO file
    that the store was built from; of other stores image_id is the index, category_id the class from 1."""

    picture: Path | None = None
    """Draw a few images, their objects and the detections into this PNG."""

    picture_score: float = 0.5
    """The least score of a detection that is drawn, at least 0 and below 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint:
            raise InputError("checkpoint must be one file or several, got none")
        check_share("picture_score", self.picture_score)
        if self.scales:
            check_sides("scales", self.scales)


def check_sides(name: str, sides: tuple[int, ...]) -> None:
    """Raise InputError unless there is a side, all sides differ, and all are large enough."""
    if not sides:
        raise InputError(f"{name} must be one side or several, got none")
    for side in sides:
        check_side(name, side)
    check_differ(name, sides)


def check_side(name: str, side: int) -> None:
    """Raise InputError for less than SMALLEST_SIDE, and for more than any image has."""
    if side < SMALLEST_SIDE:
        raise InputError(f"{name} must be at least {SMALLEST_SIDE} px, got {side}")
    at_most(name, side, LARGEST_SIDE)

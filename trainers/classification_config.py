"""What a user may choose about training a classifier; the command line is made from this."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from tyro.conf import arg

from ..pipelines.config import Augmentation, TestCrop
from ..pipelines.errors import InputError
from ..pipelines.soft_labels import SoftLabels
from .machine import Precision
from .models.arguments import parse_arguments
from .sides import Sides

Optimizer = Literal["sgd", "adamw"]
OrderName = Literal["shuffle", "label_shuffle", "class_aware", "repeat_factor"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Train a classifier on an image store."""

    store: Path
    """Image store to train on."""

    val_store: Path
    """Image store to evaluate on, with the same classes."""

    out: Path
    """Folder for last.pt (to resume from), best.pt (best top-1), networks kept, log.jsonl; made where it is missing."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """Heatmap store of the training images: windows follow it (SDA). None: plain crops."""

    model: str = "resnet18"
    """Any timm model by name, or convnet4, a small one for tests and demonstrations. It starts untrained."""

    model_args: tuple[str, ...] = ()
    """The model's own arguments, for timm: key=value words such as drop_rate=0.2 or layers=3,4,11,3."""

    epochs: int = 30
    """Passes over the training images."""

    batch_size: int = 64
    """Images a step, on each rank."""

    size: int = 224
    """Side of the network's input, pixels."""

    sizes: Sides = ()
    """Multi-scale training: each step has one of these sides, drawn at random. Evaluations and plain epochs keep size.
    None: size alone."""

    optimizer: Optimizer = "sgd"
    """sgd is with Nesterov momentum."""

    lr: float | None = None
    """Peak learning rate. None: for sgd 0.1 an each 256 images of a step over all ranks (Goyal et al. 2017), for adamw
    0.001 times the square root of that number of 256s (our choice)."""

    momentum: float = 0.9
    """Of sgd."""

    weight_decay: float | None = None
    """Of weights; norms and biases have none. None: 0.0001 for sgd (fb.resnet.torch), 0.05 for adamw."""

    warmup_epochs: float = 1.0
    """Epochs over which the learning rate rises linearly; a cosine takes it down over the rest."""

    order: OrderName = "shuffle"
    """shuffle: every image once an epoch; label_shuffle: every class as often as the largest; class_aware: classes in
    turn; repeat_factor: images of rare classes more often."""

    epoch_length: int | None = None
    """Images an epoch, over all ranks; the next epoch goes on in the order where it ended. None: a whole pass."""

    plain_epochs: int = 0
    """Last epochs without augmentation, but for the flip: training ends on the scale and colours of the test."""

    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""

    soft_labels: Path | None = None
    """What sdali confusion wrote: targets lean towards the classes that the label is confused with. None: one-hot."""

    soft: SoftLabels = field(default_factory=SoftLabels)
    """How soft_labels become targets."""

    ema: float = 0.0
    """Decay a step of the average of the weights that is then evaluated, saved and used, such as 0.999; its start is
    faster. 0: no average."""

    precision: Precision = "auto"
    """Of the forward pass; auto: bfloat16 where the GPU or CPU has arithmetic for it, else float32."""

    channels_last: bool = True
    """Keep activations in NHWC order, which is faster on most devices."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)
    """Everything random about a training image."""

    test_crop: TestCrop = "centre"
    """centre: shorter-side resize to size / 0.875, centre crop; whole: the whole image squashed to the input."""

    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""

    save_every: int = 1
    """Epochs between writes of last.pt; Ctrl-C, SIGTERM and the end write it too."""

    keep_every: int = 0
    """Epochs between networks that are kept as epoch-0010.pt and so on, for a test ensemble. 0: none."""

    save_minutes: float = 10.0
    """Minutes after which last.pt is also written in mid-epoch, against kills that send no signal. 0: never."""

    seed: int = 0
    """Of everything random: initial weights, order, crops, colours, dropout."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: its share of the cores."""

    deterministic: bool = False
    """Use only deterministic kernels, which may be slower: two runs on one machine then agree bit for bit."""

    resume: bool = False
    """Continue from last.pt in the output folder, or start where there is none."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "size", "epoch_length", "evaluate_every", "save_every", "threads"):
            check_count(name, getattr(self, name))
        for name in ("lr", "weight_decay", "warmup_epochs", "keep_every", "save_minutes"):
            check_least(name, getattr(self, name), 0)
        for name in ("momentum", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 0 and below 1, got {getattr(self, name)}")
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
        check_choice("optimizer", self.optimizer, Optimizer)
        check_choice("precision", self.precision, Precision)
        check_choice("test_crop", self.test_crop, TestCrop)
        if self.lr == 0:
            raise InputError("lr must be above 0, got 0")
        if self.warmup_epochs > self.epochs:
            raise InputError(f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}")

    @property
    def model_arguments(self) -> dict[str, Any]:
        """`model_args` as keyword arguments."""
        return parse_arguments(self.model_args)

    @property
    def resolved_weight_decay(self) -> float:
        """`weight_decay`, or the optimizer's own."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 1e-4 if self.optimizer == "sgd" else 0.05

    def peak_learning_rate(self, world_size: int) -> float:
        """`lr`, or the rule that stands in for it."""
        scale = self.batch_size * world_size / 256
        if self.lr is not None:
            return self.lr
        return 0.1 * scale if self.optimizer == "sgd" else 0.001 * math.sqrt(scale)


def check_count(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")


def check_least(name: str, value: float | None, least: float) -> None:
    if value is not None and not least <= value < math.inf:
        raise InputError(f"{name} must be at least {least} and finite, got {value}")


def check_choice(name: str, value: object, literal: Any) -> None:
    if value not in get_args(literal):
        raise InputError(f"{name} must be one of {', '.join(get_args(literal))}, got {value!r}")

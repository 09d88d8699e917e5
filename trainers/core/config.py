"""What a user may choose about any training run, whatever its task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...pipelines.config import MOST_IN_A_BATCH, MOST_THREADS
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import checked_seed
from .checks import check_choice, check_count, check_least, check_share, take_python_numbers
from .machine import Precision
from .schedule import Schedule

Optimizer = Literal["sgd", "adamw"]
OnError = Literal["raise", "skip"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run on an image store."""

    store: Path
    """Image store to train on."""

    val_store: Path
    """Image store to evaluate on, with the same classes."""

    out: Path
    """Folder for last.pt (to resume from), best.pt (best score), networks kept, log.jsonl; made where it is missing."""

    epochs: int = 30
    """Passes over the training images."""

    batch_size: int = 64
    """Images a step, on each rank."""

    epoch_length: int | None = None
    """Images an epoch, over all ranks; the next epoch goes on in the order where it ended. None: a whole pass."""

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
    """Epochs over which the learning rate rises linearly."""

    schedule: Schedule = "cosine"
    """How it then falls: cosine, poly, (1 - done) to the power of 0.9, or step, by 10 at 2/3 and 8/9 of the run."""

    ema: float = 0.0
    """Decay a step of the average of the weights that is then evaluated, saved and used, such as 0.999; its start is
    faster. 0: no average."""

    precision: Precision = "auto"
    """Of the forward pass; auto: bfloat16 where the GPU or CPU has arithmetic for it, else float32."""

    channels_last: bool = True
    """Keep activations in NHWC order, which is faster on most devices."""

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

    on_error: OnError = "raise"
    """A training image, mask or box record that cannot be read ends the run, or is replaced by another, counted, and
    listed in skipped.txt. Evaluations never replace any."""

    max_bad_share: float = 0.01
    """--on-error skip: share of the training images beyond which bad ones end the run; a single one never does."""

    resume: bool = False
    """Continue from last.pt in the output folder, or start where there is none."""

    def __post_init__(self) -> None:
        take_python_numbers(self)
        for name in ("epochs", "epoch_length", "evaluate_every", "save_every"):
            check_count(name, getattr(self, name))
        check_count("batch_size", self.batch_size, MOST_IN_A_BATCH)
        check_count("threads", self.threads, MOST_THREADS)
        for name in ("lr", "weight_decay", "warmup_epochs", "keep_every", "save_minutes"):
            check_least(name, getattr(self, name), 0)
        for name in ("momentum", "ema"):
            check_share(name, getattr(self, name))
        checked_seed(self.seed)
        check_choice("optimizer", self.optimizer, Optimizer)
        check_choice("schedule", self.schedule, Schedule)
        check_choice("precision", self.precision, Precision)
        check_choice("on_error", self.on_error, OnError)
        if not 0 <= self.max_bad_share <= 1:
            raise InputError(f"max_bad_share must be within [0, 1], got {self.max_bad_share}")
        if self.lr == 0:
            raise InputError("lr must be above 0, got 0")
        if self.warmup_epochs > self.epochs:
            raise InputError(f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs}")

    @property
    def identity(self) -> dict[str, Any]:
        """What a resumed run cannot change, by names for people."""
        return {"optimizer": self.optimizer, "seed": self.seed, "averaged weights": yes(self.ema)}

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


def yes(value: object) -> str:
    """Whether there is one, for people."""
    return "yes" if value else "no"

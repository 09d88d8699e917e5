"""The options of every training run and every evaluation, whatever its task; the command line is made from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from ...pipelines.config import MOST_IN_A_BATCH, MOST_THREADS
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import checked_seed
from .checks import check_choice, check_count, check_least, check_share, take_python_numbers

Optimizer = Literal["sgd", "adamw"]
OnError = Literal["raise", "skip"]
Precision = Literal["auto", "float32", "bfloat16"]
Schedule = Literal["cosine", "poly", "step"]
Config = TypeVar("Config")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run on an image store."""

    store: Path
    """Image store to train on."""

    val_store: Path
    """Image store to evaluate on; it must have the same classes."""

    out: Path
    """Folder of the run, made where it is missing. It holds last.pt (to resume from), best.pt (the best score so far)
    and log.jsonl."""

    epochs: int = 30
    """Number of epochs."""

    batch_size: int = 64
    """Images in each step, on each rank (process)."""

    epoch_length: int | None = None
    """Images in each epoch, over all ranks; the next epoch continues in the order where the last one ended. None: the
    whole order, usually every training image once."""

    statistics: Path | None = None
    """File that sdali stats --out has written: the mean and deviation that images are normalised by. None: what sdali
    stats has measured on the store, else ImageNet's. A resumed run keeps those that it began with."""

    optimizer: Optimizer = "sgd"
    """sgd (with Nesterov momentum) or adamw."""

    lr: float | None = None
    """Peak learning rate. None: it follows from the number of images in a step over all ranks: for sgd 0.1 for every
    256 images (Goyal et al. 2017), for adamw 0.001 times the square root of images / 256 (our choice)."""

    momentum: float = 0.9
    """Momentum of sgd."""

    weight_decay: float | None = None
    """Weight decay; it does not apply to norms and biases. None: 0.0001 for sgd (fb.resnet.torch), 0.05 for adamw."""

    warmup_epochs: float = 1.0
    """Epochs over which the learning rate rises linearly to its peak."""

    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up. cosine: along half a cosine to 0; poly: as (1 - the share of the
    run that is done) to the power of 0.9; step: to a tenth after 2/3 of the run, and again after 8/9."""

    ema: float = 0.0
    """Decay per step of a moving average of the weights, such as 0.999; the first steps use a smaller decay. The
    average is then what is evaluated and used. 0: no average."""

    precision: Precision = "auto"
    """Arithmetic of the forward pass. auto: bfloat16 where the GPU or CPU supports it in hardware, else float32."""

    channels_last: bool = True
    """Activations are in NHWC memory order, which is faster on most devices; --no-channels-last: in NCHW order."""

    evaluate_every: int = 1
    """Epochs between evaluations; the last epoch is always evaluated."""

    save_every: int = 1
    """Epochs between writes of last.pt. It is also written at the end of the run, after Ctrl-C and after SIGTERM."""

    keep_every: int = 0
    """Epochs between networks that are kept for an ensemble, as epoch-0010.pt and so on. 0: none is kept."""

    save_minutes: float = 10.0
    """Minutes after which last.pt is also written within an epoch, in case the process is killed. 0: never."""

    seed: int = 0
    """Seed of everything random: initial weights, order, crops, colours, dropout."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or one GPU such as cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: the cores, divided by the ranks on this machine."""

    deterministic: bool = False
    """Use only deterministic kernels, which may be slower: two runs on the same machine then agree bit for bit."""

    on_error: OnError = "raise"
    """What to do with a training image, mask or box record that cannot be read. raise: end the run; skip: train on
    another sample in its place, count it and list it in skipped.txt. Evaluations never skip."""

    max_bad_share: float = 0.01
    """With --on-error skip, the run ends once more than this share of the training images is bad; one bad image never
    ends it."""

    resume: bool = False
    """Continue from last.pt in the output folder, or start from the beginning where there is none."""

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
        """What a resumed run cannot change, under names for people."""
        return {"optimizer": self.optimizer, "seed": self.seed, "averaged weights": yes(self.ema)}

    @property
    def resolved_weight_decay(self) -> float:
        """`weight_decay`, or the default of the optimizer."""
        if self.weight_decay is not None:
            return self.weight_decay
        return 1e-4 if self.optimizer == "sgd" else 0.05

    def peak_learning_rate(self, world_size: int) -> float:
        """`lr`, or what follows from the number of images in a step over all ranks."""
        scale = self.batch_size * world_size / 256
        if self.lr is not None:
            return self.lr
        return 0.1 * scale if self.optimizer == "sgd" else 0.001 * math.sqrt(scale)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """An evaluation of trained networks on an image store."""

    store: Path
    """Image store to evaluate on, with the classes that the networks were trained on."""

    precision: Precision = "auto"
    """Arithmetic of the forward pass. auto: bfloat16 where the GPU or CPU supports it in hardware, else float32."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, or one GPU such as cuda:1."""

    threads: int | None = None
    """CPU threads of each rank. None: the cores, divided by the ranks on this machine."""

    font: Path | None = None
    """A font file for names in pictures. None: one of this machine's that has their characters."""

    overwrite: bool = False
    """Replace files that exist."""

    def __post_init__(self) -> None:
        take_python_numbers(self)
        check_count("threads", self.threads, MOST_THREADS)
        check_choice("precision", self.precision, Precision)


LISTS = ConstructorRegistry()
"""For tyro.cli: lists of numbers are written with spaces or commas, 224 256 or 224,256, in every flag."""


@LISTS.primitive_rule
def _list_of_numbers(hint: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """How tuple[int, ...] and tuple[float, ...] are read; an empty list is shown, and may be given, as None."""
    number, *more = get_args(hint.type) or (None,)
    if hint.type_origin is not tuple or more != [Ellipsis] or number not in (int, float):
        return None

    def read(texts: list[str]) -> tuple[Any, ...]:
        parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
        return () if parts == ["None"] else tuple(number(part) for part in parts)

    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{number.__name__.upper()} ...",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(part, int | number) for part in value),
        str_from_instance=lambda numbers: [str(one) for one in numbers] or ["None"],
    )


def yes(value: object) -> str:
    """Whether there is such a thing, for people."""
    return "yes" if value else "no"


def from_dict(kind: type[Config], values: dict[str, Any]) -> Config:
    """The configuration, perhaps with others in it, that `dataclasses.asdict` turned into this dictionary."""
    parts: dict[str, Any] = {field.name: field.default_factory for field in fields(kind)}  # type: ignore[arg-type]
    nested = {name: from_dict(parts[name], value) for name, value in values.items() if is_dataclass(parts.get(name))}
    return kind(**{**values, **nested})


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every field of a configuration as `name` or `outer.name`, in values that JSON holds; paths become strings."""
    values: dict[str, Any] = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value):
            values |= flattened(value, f"{prefix}{field.name}.")
        else:
            values[prefix + field.name] = str(value) if isinstance(value, Path) else value
    return values

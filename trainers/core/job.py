"""What a training run of any task is made of: a configuration, and what it means here; each task fills in the rest.

classification_job, parsing_job, detection_job -> Job -> opened_run -> Run, which loop.fit trains
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from timm.optim._param_groups import param_groups_weight_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ...pipelines.io.publish import check_apart, paths_in, write_errors
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import IMAGENET, Statistics
from . import resume
from .checkpoint import remove_leftovers
from .classes import check_same_classes
from .config import TrainingConfig
from .distributed import Ranks
from .log import RunLog
from .loop import Run
from .machine import resolve_precision
from .schedule import learning_rate
from .signals import StopSignals
from .standing import Standing, Stopwatch


@dataclass(frozen=True, kw_only=True)
class Job(ABC):
    """A configuration and what it means here: on this rank, with these stores, after this checkpoint."""

    config: TrainingConfig
    ranks: Ranks
    threads: int
    precision: str
    store: ImageStore
    val_store: ImageStore
    statistics: Statistics
    saved: dict[str, Any] | None

    task: ClassVar[str]
    score: ClassVar[str]
    """The figure of an evaluation that best.pt is best in; higher is better."""

    @abstractmethod
    def train_loader(self) -> Loader:
        """Of this rank's share of the training images."""

    @abstractmethod
    def test_loader(self) -> Loader:
        """Of this rank's share of the images to evaluate on."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Untrained, on its device; torch's random state has been set."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor | dict[str, Tensor]:
        """Mean loss of a batch, or the parts of it by name, with gradients, in float32 whatever the precision."""

    @abstractmethod
    def evaluate(self, model: nn.Module, loader: Loader, stop: Callable[[], int]) -> dict[str, Any]:
        """Result of a network, the same on every rank, with `score`; a signal that `stop` tells of raises Stopped."""

    @abstractmethod
    def describe(self, result: dict[str, Any]) -> str:
        """An evaluation in a few words."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What checkpoints say about the network beside its weights: enough to rebuild and feed it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The network's name, for people."""

    @property
    def images_a_step(self) -> int:
        """Over all ranks."""
        return self.config.batch_size * self.ranks.world_size

    @property
    def peak_learning_rate(self) -> float:
        """As configured, or the rule that stands in for it."""
        return self.config.peak_learning_rate(self.ranks.world_size)

    @property
    def loading(self) -> dict[str, Any]:
        """What the loaders for training and for evaluation have in common."""
        device = self.ranks.device
        return {
            "statistics": self.statistics,
            "device": str(device),
            "threads": self.threads,
            "rank": self.ranks.rank,
            "world_size": self.ranks.world_size,
            "pin_memory": device.type == "cuda",
        }

    @property
    def skipping(self) -> dict[str, Any]:
        """What the loader for training does with bad samples."""
        return {"on_error": self.config.on_error, "max_bad_share": self.config.max_bad_share}

    @property
    def facts(self) -> dict[str, Any]:
        """What every checkpoint of the run says beside its state."""
        return {
            "task": self.task,
            "classes": list(self.store.classes),
            "statistics": self.statistics.to_dict(),
            "store": self.store.digest,
            "identity": self.config.identity,
            "config": resume.plain(self.config),
            **self.about,
        }


def opened_parts(
    config: TrainingConfig, ranks: Ranks, threads: int, *, task: str, check: Callable[[ImageStore], None]
) -> dict[str, Any]:
    """The fields of any Job; opens and checks what a user can get wrong before anything is written.

    check: raises InputError for a store that is not of this task.
    """
    check_apart(config.out, paths_in(config, besides=["out"]))
    store, val_store = ImageStore(config.store), ImageStore(config.val_store)
    for opened in (store, val_store):
        check(opened)
    check_same_classes(val_store, store.classes, store.path)
    saved = resume.earlier(config, task)
    if saved:
        resume.check_resumable(saved, config, store)
    return {
        "config": config,
        "ranks": ranks,
        "threads": threads,
        "precision": resolve_precision(config.precision, ranks.device),
        "store": store,
        "val_store": val_store,
        "statistics": Statistics.from_dict(saved["statistics"]) if saved else store.statistics or IMAGENET,
        "saved": saved,
    }


@contextmanager
def opened_run(job: Job, signals: StopSignals, stopwatch: Stopwatch) -> Iterator[Run]:
    """The run, at its start or where its checkpoint left it; loaders and log are closed at the end."""
    config = job.config
    with closing(job.train_loader()) as loader, closing(job.test_loader()) as test_loader:
        torch.manual_seed(config.seed)
        model = job.network()
        if config.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
        optimizer = make_optimizer(model, config)
        at = Standing()
        if job.saved:
            resume.restore(job.saved, config, model=model, ema=ema, optimizer=optimizer, loader=loader)
            at = resume.standing(job.saved, loader, job.images_a_step)
        job.ranks.barrier()  # every rank has seen what the folder held before the first one adds to it
        with write_errors(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
            if job.ranks.is_first:
                remove_leftovers(config.out)
        lengths = {"epochs": config.epochs, "steps_per_epoch": len(loader)}

        def evaluate(network: nn.Module) -> dict[str, Any]:
            return job.evaluate(network, test_loader, lambda: signals.agreed(job.ranks.total(signals.received)))

        with RunLog(config.out, at, describe=job.describe, enabled=job.ranks.is_first, **lengths) as log:
            yield Run(
                model=model,
                trained=job.ranks.wrap(model),
                ema=ema,
                optimizer=optimizer,
                loader=loader,
                at=at,
                epochs=config.epochs,
                seed=config.seed,
                loss=job.loss,
                learning_rate=_schedule(job, len(loader)),
                evaluate=evaluate,
                score=job.score,
                evaluate_every=config.evaluate_every,
                save_every=config.save_every,
                keep_every=config.keep_every,
                save_minutes=config.save_minutes,
                out=config.out,
                facts=job.facts,
                ranks=job.ranks,
                signals=signals,
                log=log,
                stopwatch=stopwatch,
            )


def make_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """Weight decay on weights only. The groups are made with a decay of 1 and scaled: with 0 timm would order the
    weights otherwise, and a checkpoint's momenta would meet the wrong ones.
    """
    undecayed = getattr(model, "no_weight_decay", tuple)()
    groups = param_groups_weight_decay(model, 1.0, no_weight_decay_list=undecayed)
    for group in groups:
        group["weight_decay"] *= config.resolved_weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=config.momentum > 0)


def _schedule(job: Job, steps_per_epoch: int) -> partial[float]:
    return partial(
        learning_rate,
        peak=job.peak_learning_rate,
        steps=job.config.epochs * steps_per_epoch,
        warmup_steps=round(job.config.warmup_epochs * steps_per_epoch),
        schedule=job.config.schedule,
    )

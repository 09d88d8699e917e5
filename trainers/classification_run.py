"""Making a classifier's training run from its configuration: stores, network, optimizer, loaders, and their rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.optim._param_groups import param_groups_weight_decay
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ..pipelines.classification import test_loader, train_loader
from ..pipelines.loader import Loader
from ..pipelines.soft_labels import load_confusion
from ..pipelines.statistics import IMAGENET, Statistics
from ..pipelines.store_read import ImageStore
from ..pipelines.store_write import write_errors
from . import resume
from .classes import check_labelled, check_same_classes
from .classification_config import TrainConfig
from .classifier_checkpoint import TASK, check_input, check_training
from .distributed import Ranks
from .evaluation import count_hits
from .loop import Run
from .machine import autocast, resolve_precision
from .models.classifiers import create_classifier
from .run_log import RunLog
from .schedule import learning_rate
from .signals import StopSignals
from .standing import Standing, Stopwatch

AUXILIARY_WEIGHT = 0.4  # as TensorFlow-slim trains Inception-v3; Szegedy et al. (CVPR 2016) give none


@dataclass(frozen=True, kw_only=True)
class Job:
    """A configuration and what it means here: on this rank, with these stores, after this checkpoint."""

    config: TrainConfig
    ranks: Ranks
    threads: int
    precision: str
    store: ImageStore
    val_store: ImageStore
    statistics: Statistics
    saved: dict[str, Any] | None
    targets: np.ndarray | None
    """float32 [K, K]: the soft label of each class."""

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
            "batch_size": self.config.batch_size,
            "size": self.config.size,
            "statistics": self.statistics,
            "device": str(device),
            "threads": self.threads,
            "rank": self.ranks.rank,
            "world_size": self.ranks.world_size,
            "pin_memory": device.type == "cuda",
        }


def prepare(config: TrainConfig, ranks: Ranks, threads: int) -> Job:
    """Open and check what a user can get wrong before anything is written; raises InputError."""
    store, val_store = ImageStore(config.store), ImageStore(config.val_store)
    for opened in (store, val_store):
        check_labelled(opened)
    check_same_classes(val_store, store.classes, store.path)
    saved = resume.earlier(config)
    if saved:
        resume.check_resumable(saved, config, store)
    return Job(
        config=config,
        ranks=ranks,
        threads=threads,
        precision=resolve_precision(config.precision, ranks.device),
        store=store,
        val_store=val_store,
        statistics=Statistics.from_dict(saved["statistics"]) if saved else store.statistics or IMAGENET,
        saved=saved,
        targets=_targets(config, store),
    )


def _targets(config: TrainConfig, store: ImageStore) -> np.ndarray | None:
    """The soft labels that were asked for; raises InputError for a file of other classes."""
    if config.soft_labels is None:
        return None
    matrix, classes = load_confusion(config.soft_labels)
    check_same_classes(store, classes, config.soft_labels)
    return config.soft.targets(matrix)


@contextmanager
def opened_run(job: Job, signals: StopSignals, stopwatch: Stopwatch) -> Iterator[Run]:
    """The run, at its start or where its checkpoint left it; loaders and log are closed at the end."""
    config = job.config
    train_data = train_loader(
        job.store,
        heatmaps=config.heatmaps,
        sizes=config.sizes,
        seed=config.seed,
        augmentation=config.augmentation,
        order=config.order,
        epoch_length=config.epoch_length,
        targets=job.targets,
        plain_from=config.epochs - config.plain_epochs if config.plain_epochs else None,
        plain_crop=config.test_crop,
        **job.loading,
    )
    val_data = test_loader(job.val_store, crop=config.test_crop, **job.loading)
    with closing(train_data) as loader, closing(val_data) as val_loader:
        model = _network(job)
        ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
        optimizer = make_optimizer(model, config)
        at = Standing()
        if job.saved:
            resume.restore(job.saved, config, model=model, ema=ema, optimizer=optimizer, loader=loader)
            at = resume.standing(job.saved, loader, job.images_a_step)
        with write_errors(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
        lengths = {"epochs": config.epochs, "steps_per_epoch": len(loader)}
        with RunLog(config.out, at, enabled=job.ranks.is_first, **lengths) as log:
            yield Run(
                model=model,
                trained=job.ranks.wrap(model),
                ema=ema,
                optimizer=optimizer,
                loader=loader,
                at=at,
                epochs=config.epochs,
                seed=config.seed,
                loss=partial(_loss, job),
                learning_rate=_schedule(job, len(loader)),
                evaluate=partial(_evaluate, job, val_loader, signals),
                evaluate_every=config.evaluate_every,
                save_every=config.save_every,
                keep_every=config.keep_every,
                save_minutes=config.save_minutes,
                out=config.out,
                facts=_facts(job),
                ranks=job.ranks,
                signals=signals,
                log=log,
                stopwatch=stopwatch,
            )


def _network(job: Job) -> nn.Module:
    """The untrained network, the same on every rank, on its device."""
    config, device = job.config, job.ranks.device
    torch.manual_seed(config.seed)
    model = create_classifier(config.model, len(job.store.classes), **config.model_arguments).to(device)
    check_input(model, config.model, config.size, device)
    for size in config.sizes or (config.size,):
        check_training(model, config.model, size, config.batch_size, device)
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
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
    )


def _loss(job: Job, model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Mean cross-entropy of a batch, in float32 whatever the network's precision; an auxiliary head adds its own."""
    device = job.ranks.device
    images, labels = (batch[name].to(device, non_blocking=True) for name in ("image", "label"))
    with autocast(device, job.precision):
        scores = model(images)
    targets = batch["target"].to(device, non_blocking=True) if "target" in batch else labels

    def entropy(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), targets, label_smoothing=job.config.label_smoothing)

    if isinstance(scores, tuple):
        logits, auxiliary = scores
        return entropy(logits) + AUXILIARY_WEIGHT * entropy(auxiliary)
    return entropy(scores)


def _evaluate(job: Job, loader: Loader, signals: StopSignals, model: nn.Module) -> dict[str, Any]:
    def stop() -> int:
        return signals.agreed(job.ranks.total(signals.received))

    classes, precision = len(job.store.classes), job.precision
    return count_hits(model, loader, classes=classes, ranks=job.ranks, precision=precision, stop=stop).compute()


def _facts(job: Job) -> dict[str, Any]:
    """What every checkpoint of the run says beside its state: enough to rebuild and feed the network."""
    return {
        "task": TASK,
        "model": {"name": job.config.model, "args": job.config.model_arguments},
        "classes": list(job.store.classes),
        "size": job.config.size,
        "statistics": job.statistics.to_dict(),
        "test_crop": job.config.test_crop,
        "store": job.store.digest,
        "config": resume.plain(job.config),
    }

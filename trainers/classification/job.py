"""A classifier's training run: its loaders, network, loss and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.classification import test_loader, train_loader
from ...pipelines.loader.loader import Loader
from ...pipelines.loader.soft_labels import load_confusion
from ...pipelines.store.reader import ImageStore
from ..core.classes import check_labelled, check_same_classes
from ..core.distributed import Ranks
from ..core.job import Job, opened_parts
from ..core.machine import autocast
from ..models.classification.classifiers import create_classifier
from .checkpoint import TASK, check_input, check_training
from .config import TrainConfig
from .hits import count_hits

AUXILIARY_WEIGHT = 0.4  # as TensorFlow-slim trains Inception-v3; Szegedy et al. (CVPR 2016) give none


@dataclass(frozen=True, kw_only=True)
class ClassificationJob(Job):
    """See Job."""

    config: TrainConfig
    targets: np.ndarray | None
    """float32 [K, K]: the soft label of each class."""

    task, score = TASK, "top1"

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(
            self.store,
            batch_size=config.batch_size,
            heatmaps=config.heatmaps,
            size=config.size,
            sizes=config.sizes,
            seed=config.seed,
            augmentation=config.augmentation,
            order=config.order,
            epoch_length=config.epoch_length,
            targets=self.targets,
            plain_from=config.epochs - config.plain_epochs if config.plain_epochs else None,
            plain_crop=config.test_crop,
            **self.skipping,
            **self.loading,
        )

    def test_loader(self) -> Loader:
        config = self.config
        size = {"batch_size": config.batch_size, "size": config.size, "crop": config.test_crop}
        return test_loader(self.val_store, **size, **self.loading)  # type: ignore[arg-type]

    def network(self) -> nn.Module:
        config, device = self.config, self.ranks.device
        model = create_classifier(config.model, len(self.store.classes), **config.model_arguments).to(device)
        check_input(model, config.model, config.size, device)
        for size in config.sizes or (config.size,):
            check_training(model, config.model, (size, size), config.batch_size, device)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy; an auxiliary head adds its own."""
        device = self.ranks.device
        images, labels = (batch[name].to(device, non_blocking=True) for name in ("image", "label"))
        with autocast(device, self.precision):
            scores = model(images)
        targets = batch["target"].to(device, non_blocking=True) if "target" in batch else labels

        def entropy(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits.float(), targets, label_smoothing=self.config.label_smoothing)

        if isinstance(scores, tuple):
            logits, auxiliary = scores
            return entropy(logits) + AUXILIARY_WEIGHT * entropy(auxiliary)
        return entropy(scores)

    def evaluate(self, model: nn.Module, loader: Loader, stop: Callable[[], int]) -> dict[str, Any]:
        classes, precision = len(self.store.classes), self.precision
        return count_hits(model, loader, classes=classes, ranks=self.ranks, precision=precision, stop=stop).compute()

    def describe(self, result: dict[str, Any]) -> str:
        top5 = f", top-5 {result['top5']:.1%}" if "top5" in result else ""
        return f"top-1 {result['top1']:.1%}{top5}, loss {result['loss']:.3f}"

    @property
    def about(self) -> dict[str, Any]:
        config = self.config
        model = {"name": config.model, "args": config.model_arguments}
        return {"model": model, "size": config.size, "test_crop": config.test_crop}

    @property
    def title(self) -> str:
        return " ".join([self.config.model, *self.config.model_args])


def prepare(config: TrainConfig, ranks: Ranks, threads: int) -> ClassificationJob:
    """The job; raises InputError for what a user can get wrong, before anything is written."""
    parts = opened_parts(config, ranks, threads, task=TASK, check=check_labelled)
    return ClassificationJob(**parts, targets=_targets(config, parts["store"]))


def _targets(config: TrainConfig, store: ImageStore) -> np.ndarray | None:
    """The soft labels that were asked for; raises InputError for a file of other classes."""
    if config.soft_labels is None:
        return None
    matrix, classes = load_confusion(config.soft_labels)
    check_same_classes(store, classes, config.soft_labels)
    return config.soft.targets(matrix)

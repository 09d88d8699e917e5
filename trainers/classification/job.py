"""A classifier's training run: its loaders, network, loss and evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.classification import test_loader, train_loader
from ...pipelines.loader.loader import Loader
from ...pipelines.loader.soft_labels import load_confusion
from ..core.checks import check_labelled, check_same_classes
from ..core.job import Job
from ..core.networks import check_input, check_training
from ..core.process import Process
from ..models.classification.classifiers import create_classifier
from .config import TrainConfig
from .evaluation import count_hits

AUXILIARY_WEIGHT = 0.4  # as TensorFlow-slim trains Inception-v3; Szegedy et al. (CVPR 2016) give none


class ClassificationJob(Job[TrainConfig]):
    """See Job; `targets`: float32 [K, K], the soft label of each class, None for one-hot targets."""

    task, score, check_store = "classification", "top1", staticmethod(check_labelled)

    def __init__(self, config: TrainConfig, process: Process) -> None:
        super().__init__(config, process)
        self.targets: np.ndarray | None = None
        if config.soft_labels is not None:
            matrix, classes = load_confusion(config.soft_labels)
            check_same_classes(self.store, classes, config.soft_labels)
            self.targets = config.soft.targets(matrix)

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(
            self.store,
            heatmaps=config.heatmaps,
            size=config.size,
            sizes=config.sizes,
            order=config.order,
            targets=self.targets,
            plain_from=config.epochs - config.plain_epochs if config.plain_epochs else None,
            plain_crop=config.test_crop,
            **self.training_options,
        )

    def test_loader(self) -> Loader:
        config = self.config
        size = {"batch_size": config.batch_size, "size": config.size, "crop": config.test_crop}
        return test_loader(self.val_store, **size, **self.loading)  # type: ignore[arg-type]

    def network(self) -> nn.Module:
        config, device = self.config, self.process.device
        model = create_classifier(config.model, len(self.store.classes), **config.model_arguments).to(device)
        check_input(model, config.model, config.size, device)
        for size in config.sizes or (config.size,):
            check_training(model, config.model, (size, size), config.batch_size, device)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy; an auxiliary head adds its loss."""
        device = self.process.device
        images, labels = (batch[name].to(device, non_blocking=True) for name in ("image", "label"))
        with self.process.autocast():
            scores = model(images)
        targets = batch["target"].to(device, non_blocking=True) if "target" in batch else labels

        def entropy(logits: Tensor) -> Tensor:
            return F.cross_entropy(logits.float(), targets, label_smoothing=self.config.label_smoothing)

        if isinstance(scores, tuple):
            logits, auxiliary = scores
            return entropy(logits) + AUXILIARY_WEIGHT * entropy(auxiliary)
        return entropy(scores)

    def evaluate(self, model: nn.Module, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
        classes = len(self.store.classes)
        return count_hits(model, batches, classes=classes, process=self.process).compute()

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

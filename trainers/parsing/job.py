"""A training run of scene parsing: its loaders, network, loss and evaluation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.loader.loader import Loader
from ...pipelines.parsing import test_loader, train_loader
from ...pipelines.store.measure import class_frequencies
from ...pipelines.store.reader import check_masks_of_classes
from ..core import checkpoint
from ..core.job import Job
from ..core.networks import check_start, check_training
from ..core.process import Process
from ..models.backbones import load_matching
from ..models.parsing.network import ParsingNetwork, create_parser
from .config import TrainConfig
from .evaluation import count_pixels, whole_image_batch


class ParsingJob(Job[TrainConfig]):
    """See Job; `class_weights`: float32 [K] on the device, of a pixel of each class in the loss; None for 1 each."""

    task, score, check_store = "parsing", "score", staticmethod(check_masks_of_classes)

    def __init__(self, config: TrainConfig, process: Process) -> None:
        super().__init__(config, process)
        self.class_weights: Tensor | None = None
        if config.class_balance == "median_frequency":  # a class that no training pixel has weighs 0
            weights = class_frequencies(self.store).median_frequency_weights()
            self.class_weights = torch.from_numpy(weights.astype(np.float32)).to(process.device)

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(self.store, heatmaps=config.heatmaps, size=config.size, **self.training_options)

    def test_loader(self) -> Loader:
        batch_size = whole_image_batch(self.val_store, self.config.batch_size)
        shorter_side = self.config.augmentation.crop.shorter_side
        return test_loader(self.val_store, batch_size=batch_size, shorter_side=shorter_side, **self.loading)

    def network(self) -> nn.Module:
        config, device = self.config, self.process.device
        model = create_parser(config.network, len(self.store.classes), std=self.statistics.std.tolist())
        if config.backbone_weights is not None and not self.saved:
            load_backbone(model, config.backbone_weights, config.network.backbone)
        model = model.to(device)
        check_training(model, self.title, config.size, config.batch_size, device)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy of the pixels that have a class, 0 where none has; an auxiliary head adds its loss.

        The mean is over the pixels of all ranks, since one may have few: a rank divides its sum by the mean over the
        ranks of their pixels, so that DDP's mean of the gradients is the gradient that one process would get.
        """
        device = self.process.device
        images, masks = (batch[name].to(device, non_blocking=True) for name in ("image", "mask"))
        with self.process.autocast():
            scores = model(images)
        pixels = self._pixels(masks)
        if isinstance(scores, tuple):
            main, auxiliary = (self._entropy(part, masks) / pixels for part in scores)
            return main + self.config.auxiliary_weight * auxiliary
        return self._entropy(scores, masks) / pixels

    def _entropy(self, scores: Tensor, masks: Tensor) -> Tensor:
        """The sum over this rank's pixels, weighted by class."""
        assert self.store.ignore_index is not None
        ignored = self.store.ignore_index
        return F.cross_entropy(scores.float(), masks, self.class_weights, ignore_index=ignored, reduction="sum")

    def _pixels(self, masks: Tensor) -> Tensor:
        """float32: the pixels that have a class, weighted by it, a mean over the ranks; 1 where there are none."""
        labelled, weights = masks[masks != self.store.ignore_index], self.class_weights
        own = labelled.new_tensor(len(labelled)) if weights is None else weights[labelled].sum()
        total = self.process.sum(own.double()) / self.process.world_size
        return torch.where(total > 0, total, torch.ones_like(total)).float()

    def evaluate(self, model: nn.Module, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
        views, classes = ([batch] for batch in batches), len(self.store.classes)
        return count_pixels(model, views, classes=classes, process=self.process).compute()

    def describe(self, result: dict[str, Any]) -> str:
        return (
            f"score {result['score']:.3f} (mean IoU {result['mean_iou']:.3f}, "
            f"pixel accuracy {result['pixel_accuracy']:.3f})"
        )

    @property
    def about(self) -> dict[str, Any]:
        shorter_side = self.config.augmentation.crop.shorter_side
        return {"network": asdict(self.config.network), "shorter_side": shorter_side}

    @property
    def title(self) -> str:
        return f"{self.config.network.backbone} with {self.config.network.head}"


def load_backbone(model: ParsingNetwork, path: Path, backbone: str) -> None:
    """Fill the backbone with the weights of a trained classifier; raises InputError for one of another network."""
    contents = checkpoint.load(path, "classification")
    taken = load_matching(model.backbone, checkpoint.best_weights(contents)).taken
    check_start(path, contents, backbone, model.backbone.state_dict(), taken)

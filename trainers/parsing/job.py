"""A training run of scene parsing: its loaders, network, loss and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pipelines.loader.loader import Loader
from ...pipelines.parsing import test_loader, train_loader
from ...pipelines.store.measure import class_frequencies
from ...pipelines.store.reader import ImageStore, check_masks_of_classes
from ..classification.checkpoint import check_training
from ..core.distributed import Ranks
from ..core.job import Job, opened_parts
from ..core.machine import autocast
from ..models.parsing.network import create_parser
from .checkpoint import TASK, load_backbone
from .config import TrainConfig
from .evaluation import count_pixels, whole_image_batch


@dataclass(frozen=True, kw_only=True)
class ParsingJob(Job):
    """See Job."""

    config: TrainConfig
    class_weights: Tensor | None
    """float32 [K], on the device: of a pixel of each class in the loss."""

    task, score = TASK, "score"

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(
            self.store,
            heatmaps=config.heatmaps,
            batch_size=config.batch_size,
            size=config.size,
            seed=config.seed,
            augmentation=config.augmentation,
            epoch_length=config.epoch_length,
            **self.skipping,
            **self.loading,
        )

    def test_loader(self) -> Loader:
        batch_size = whole_image_batch(self.val_store, self.config.batch_size)
        shorter_side = self.config.augmentation.crop.shorter_side
        return test_loader(self.val_store, batch_size=batch_size, shorter_side=shorter_side, **self.loading)

    def network(self) -> nn.Module:
        config, device = self.config, self.ranks.device
        model = create_parser(config.network, len(self.store.classes), std=self.statistics.std.tolist())
        if config.backbone_weights is not None and not self.saved:
            load_backbone(model, config.backbone_weights, config.network.backbone)
        model = model.to(device)
        check_training(model, self.title, config.size, config.batch_size, device)
        return model

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor:
        """Mean cross-entropy of the pixels that have a class, 0 where none has; an auxiliary head adds its own.

        The mean is over the pixels of all ranks, since one may have few: a rank divides its sum by the mean over the
        ranks of their pixels, so that DDP's mean of the gradients is the gradient that one process would get.
        """
        device = self.ranks.device
        images, masks = (batch[name].to(device, non_blocking=True) for name in ("image", "mask"))
        with autocast(device, self.precision):
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
        total = self.ranks.sum(own.double()) / self.ranks.world_size
        return torch.where(total > 0, total, torch.ones_like(total)).float()

    def evaluate(self, model: nn.Module, loader: Loader, stop: Callable[[], int]) -> dict[str, Any]:
        return count_pixels(
            model,
            ([batch] for batch in loader),
            classes=len(self.store.classes),
            ranks=self.ranks,
            precision=self.precision,
            stop=stop,
        ).compute()

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


def prepare(config: TrainConfig, ranks: Ranks, threads: int) -> ParsingJob:
    """The job; raises InputError for what a user can get wrong, before anything is written."""
    parts = opened_parts(config, ranks, threads, task=TASK, check=check_masks_of_classes)
    return ParsingJob(**parts, class_weights=_class_weights(config, parts["store"], ranks))


def _class_weights(config: TrainConfig, store: ImageStore, ranks: Ranks) -> Tensor | None:
    """The weights of the classes that were asked for; one that no training pixel has weighs 0."""
    if config.class_balance == "none":
        return None
    weights = class_frequencies(store).median_frequency_weights()
    return torch.from_numpy(weights.astype(np.float32)).to(ranks.device)

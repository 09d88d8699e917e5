"""A detector's training run: its loaders, network, losses and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from ...pipelines.detection import test_loader, train_loader
from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from ..core.distributed import Ranks
from ..core.job import Job, opened_parts
from ..core.machine import autocast
from ..models.detection.network import create_detector
from .checkpoint import TASK, start_from
from .config import DetectionRules, TrainConfig
from .evaluation import figures, record_detections

logger = logging.getLogger("sdali")
RULES = DetectionRules()


@dataclass(frozen=True, kw_only=True)
class DetectionJob(Job):
    """See Job."""

    config: TrainConfig

    task, score = TASK, "ap50"

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(
            self.store,
            batch_size=config.batch_size,
            shorter_side=config.shorter_side,
            longer_side=config.longer_side,
            side_per=config.side_per,
            seed=config.seed,
            augmentation=config.augmentation,
            order=config.order,
            epoch_length=config.epoch_length,
            **self.skipping,
            **self.loading,
        )

    def test_loader(self) -> Loader:
        config = self.config
        sides = {"shorter_side": config.tested_side, "longer_side": config.longer_side}
        return test_loader(self.val_store, **sides, **self.loading)

    def network(self) -> nn.Module:
        config = self.config
        model = create_detector(config.network, len(self.store.classes))
        if config.start_from is not None and not self.saved:
            found = start_from(model, config.start_from, config.network.backbone)
            if self.ranks.is_first:
                count, left = len(found.taken), len(found.left)
                logger.info(
                    "%s: %d weights are taken, %d have no place or another shape", config.start_from, count, left
                )
        return model.to(self.ranks.device)

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The detector's losses, each a mean; difficult objects are neither learnt nor known as such."""
        device = self.ranks.device
        regular = [~difficult for difficult in batch["difficult"]]
        boxes, labels = (
            [of_image[kept].to(device) for of_image, kept in zip(batch[name], regular, strict=True)]
            for name in ("boxes", "labels")
        )
        with autocast(device, self.precision):
            return model(batch["image"].to(device, non_blocking=True), batch["size"], boxes, labels)

    def evaluate(self, model: nn.Module, loader: Loader, stop: Callable[[], int]) -> dict[str, Any]:
        """One scale, no mirror images, no voting."""
        records = record_detections(
            [model],  # type: ignore[list-item]
            ([batch] for batch in loader),
            store=self.val_store,
            rules=RULES,
            ranks=self.ranks,
            precision=self.precision,
            stop=stop,
        )
        return figures(records, self.val_store.classes, RULES)

    def describe(self, result: dict[str, Any]) -> str:
        return f"AP50 {result['ap50']:.3f}, AP {result['ap']:.3f}, proposals' recall {result['recall50']:.3f}"

    @property
    def about(self) -> dict[str, Any]:
        config = self.config
        sides = {"shorter_side": config.tested_side, "longer_side": config.longer_side}
        return {"network": asdict(config.network), **sides}

    @property
    def title(self) -> str:
        network = self.config.network
        parts = {
            "Cascade RPN": network.cascade_rpn,
            "constrained ratio": network.constrained != "none",
            "global context": network.global_context != "none",
            "OHEM": network.ohem,
        }
        used = ", ".join(name for name, is_used in parts.items() if is_used)
        return f"Faster R-CNN ({network.neck}) on {network.backbone}" + (f" with {used}" if used else "")


def prepare(config: TrainConfig, ranks: Ranks, threads: int) -> DetectionJob:
    """The job; raises InputError for what a user can get wrong, before anything is written."""
    if config.start_from is None and config.network.global_context == "pretrained":
        raise InputError("global_context pretrained needs start_from; give a checkpoint, or random in its place")
    if config.start_from is None and config.network.frozen_norm:
        raise InputError("frozen_norm keeps statistics that only trained weights have; give start_from too")
    return DetectionJob(**opened_parts(config, ranks, threads, task=TASK, check=check_objects))


def check_objects(store: ImageStore) -> None:
    """Raise InputError unless the store has an object that is to be found."""
    if not store.has_boxes:
        raise InputError(
            f"{store.path} has no boxes; build it with sdali build --format voc, coco or ilsvrc-loc, or --annotations"
        )
    if store.objects().difficult.all():
        raise InputError(f"{store.path} has no object that is to be found; build it from images with objects")

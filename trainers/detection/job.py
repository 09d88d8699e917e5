"""A detector's training run: its loaders, network, losses and evaluation."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ...pipelines.detection import test_loader, train_loader
from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from ..core import checkpoint
from ..core.job import Job
from ..core.networks import check_start
from ..core.process import Process
from ..models.backbones import Taken
from ..models.detection.detector import Detector, start_from
from ..models.detection.network import create_detector
from .config import DetectionRules, TrainConfig
from .evaluation import check_objects, figures, record_detections

logger = logging.getLogger("sdali")
RULES = DetectionRules()


class DetectionJob(Job[TrainConfig]):
    """See Job."""

    task, score, check_store = "detection", "ap50", staticmethod(check_objects)

    def __init__(self, config: TrainConfig, process: Process) -> None:
        if config.start_from is None and config.network.global_context == "pretrained":
            raise InputError("global_context pretrained needs start_from; give a checkpoint, or random in its place")
        if config.start_from is None and config.network.frozen_norm:
            raise InputError("frozen_norm keeps statistics that only trained weights have; give start_from too")
        super().__init__(config, process)

    def train_loader(self) -> Loader:
        config = self.config
        return train_loader(
            self.store,
            shorter_side=config.shorter_side,
            longer_side=config.longer_side,
            side_per=config.side_per,
            order=config.order,
            **self.training_options,
        )

    def test_loader(self) -> Loader:
        return test_loader(self.val_store, **self._sides, **self.loading)

    def network(self) -> nn.Module:
        config = self.config
        model = create_detector(config.network, len(self.store.classes))
        if config.start_from is not None and not self.saved:
            weights = start(model, config.start_from, config.network.backbone)
            if self.process.is_first:
                counts = len(weights.taken), len(weights.left)
                logger.info("%s: %d weights are used, %d do not fit the network", config.start_from, *counts)
        return model.to(self.process.device)

    def loss(self, model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The detector's losses, each a mean; difficult objects are left out, as if they were background."""
        device = self.process.device
        regular = [~difficult for difficult in batch["difficult"]]
        boxes, labels = (
            [of_image[kept].to(device) for of_image, kept in zip(batch[name], regular, strict=True)]
            for name in ("boxes", "labels")
        )
        with self.process.autocast():
            return model(batch["image"].to(device, non_blocking=True), batch["size"], boxes, labels)

    def evaluate(self, model: nn.Module, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """At one scale, without mirror images and voting."""
        records = record_detections(
            [model],  # type: ignore[list-item]
            ([batch] for batch in batches),
            store=self.val_store,
            rules=RULES,
            process=self.process,
        )
        return figures(records, self.val_store.classes, RULES)

    def describe(self, result: dict[str, Any]) -> str:
        return f"AP50 {result['ap50']:.3f}, AP {result['ap']:.3f}, proposals' recall {result['recall50']:.3f}"

    @property
    def about(self) -> dict[str, Any]:
        return {"network": asdict(self.config.network), **self._sides}

    @property
    def _sides(self) -> dict[str, int]:
        """Sizes of the images in evaluations."""
        return {"shorter_side": self.config.tested_side, "longer_side": self.config.longer_side}

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


def start(model: Detector, path: Path, backbone: str) -> Taken:
    """Fill a detector on this backbone with what fits of a detector's or a classifier's weights.

    Raises InputError for a checkpoint of another task or backbone, or that lacks weights of the backbone.
    """
    contents = checkpoint.load(path)
    if (task := contents.get("task")) not in ("detection", "classification"):
        raise InputError(f"{path} is a checkpoint of {task}; give one of detection or classification")
    # Filled before it is checked: what does not fit is left alone, and a run that is refused writes nothing.
    weights = start_from(model, checkpoint.best_weights(contents), classifier=task == "classification")
    prefix = "backbone.network." if task == "detection" else ""
    wanted = [prefix + name for name in model.backbone.network.state_dict()]
    check_start(path, contents, backbone, wanted, weights.taken)
    return weights

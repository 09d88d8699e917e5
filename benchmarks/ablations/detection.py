"""The ablation of object detection: the talk's parts on one backbone, balanced sampling, the test, at equal steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...pipelines.config import Colour, DetectionAugmentation
from ...pipelines.sources.voc import voc
from ...trainers import classification
from ...trainers.detection import DetectionRules, EvaluateConfig, TrainConfig, evaluate, train
from ...trainers.detection.config import OrderName
from ...trainers.models.detection.network import DetectionConfig
from ...trainers.models.detection.rpn import RPNConfig
from ..scenes.source import scenes
from .sets import stored
from .study import Row, Study, Trial, costs, given, once


@dataclass(frozen=True, kw_only=True)
class DetectionProtocol:
    """What all rows have in common, fixed before their results were seen, but for the epochs on bccd: see LOG.md."""

    network: DetectionConfig
    """The base model."""
    shorter_side: int
    """Of the images in training and in tests, pixels; figures are of the original size."""
    scales: tuple[int, ...]
    """Of the row that tests at several."""
    epochs: int
    epoch_length: int
    """Images an epoch: the orders' own passes differ."""
    batch_size: int = 4
    lr: float = 3e-4
    """Of AdamW, with a cosine."""
    ema: float = 0.99
    classifier_epochs: int = 12
    """Of the classifier that a network starts from."""


@dataclass(frozen=True, kw_only=True)
class DetectionSet:
    """Stores of a set; labelled: of images with a class each, for a classifier to be trained on, and one to test it."""

    protocol: DetectionProtocol
    train: Path
    test: Path
    labelled: tuple[Path, Path] | None = None


def bccd_set(data: Path | None, out: Path) -> DetectionSet:
    """DATA/JPEGImages, Annotations, ImageSets: 205 photographs of 640 x 480 to train on, 87 to test, seen at half
    size.
    """
    data = given(data, "bccd needs", "JPEGImages/, Annotations/ and ImageSets/")
    return DetectionSet(
        protocol=DetectionProtocol(
            network=_network((16, 32, 64, 128)), shorter_side=240, scales=(200, 240, 288), epochs=8, epoch_length=204
        ),
        train=stored(voc(data, subset="train"), out / "train.lmdb"),
        test=stored(voc(data, subset="val"), out / "test.lmdb"),
    )


def scene_set(_: Path | None, out: Path) -> DetectionSet:
    """Generated scenes of up to 5 objects: 600 to train on, 150 to test; and scenes of one for the classifier."""
    labelled = scenes(1200, seed=2), scenes(200, seed=3)
    return DetectionSet(
        protocol=DetectionProtocol(
            network=_network((32, 64, 128)), shorter_side=192, scales=(160, 192, 224), epochs=3, epoch_length=300
        ),
        train=stored(scenes(600, seed=0, objects=5), out / "train.lmdb"),
        test=stored(scenes(150, seed=1, objects=5), out / "test.lmdb"),
        labelled=(stored(labelled[0], out / "labelled.lmdb"), stored(labelled[1], out / "labelled_test.lmdb")),
    )


class DetectionTrial(Trial):
    """See Trial; `images` is a DetectionSet."""

    def result(
        self, name: str, *, order: OrderName = "shuffle", start_from: Path | None = None, **parts: Any
    ) -> dict[str, Any]:
        """A training with parts added to the base model, and its last network evaluated."""
        protocol = self.images.protocol
        config = TrainConfig(
            **self.options(name), network=replace(protocol.network, **parts), start_from=start_from, order=order,
            shorter_side=(protocol.shorter_side,), epochs=protocol.epochs, epoch_length=protocol.epoch_length,
            batch_size=protocol.batch_size, optimizer="adamw", lr=protocol.lr, schedule="cosine", ema=protocol.ema,
            augmentation=DetectionAugmentation(colour=Colour(brightness=0.2, contrast=0.2, saturation=0.2)),
            evaluate_every=protocol.epochs,
        )  # fmt: skip
        trained = once(config.out / "result.json", lambda: train(config))
        return {**self.tested(name, name), **costs(trained)}

    def tested(
        self, name: str, run: str, scales: Sequence[int] = (), flip: bool = False, voting: float | None = None
    ) -> dict[str, Any]:
        """The last network of a training, evaluated; of per_class, AP50."""
        config = EvaluateConfig(
            checkpoint=(self.last(run),),
            store=self.images.test,
            threads=self.threads,
            scales=tuple(scales),
            flip=flip,
            rules=DetectionRules(voting=voting),
        )
        found = once(self.folder / f"{name}.test.json", lambda: evaluate(config))
        return {**found, "per_class": {name: one["ap50"] for name, one in found["per_class"].items() if one["objects"]}}

    def classifier(self) -> Path:
        """A classifier on the base model's backbone, trained on the labelled images."""
        assert self.images.labelled is not None, "the row needs a set with labelled images"
        protocol = self.images.protocol
        stores = dict(zip(("store", "val_store"), self.images.labelled, strict=True))
        config = classification.TrainConfig(
            **{**self.options("classifier"), **stores}, model=protocol.network.backbone, size=96,
            epochs=protocol.classifier_epochs, batch_size=32, optimizer="adamw", lr=1e-3, test_crop="whole",
            evaluate_every=protocol.classifier_epochs,
        )  # fmt: skip
        once(config.out / "result.json", lambda: classification.train(config))
        return self.last("classifier")


def _network(anchors: tuple[float, ...]) -> DetectionConfig:
    """What a CPU can train: regions of 7 x 7 cells, few of them."""
    return DetectionConfig(backbone="resnet10t", roi_size=7, regions=32, rpn=RPNConfig(anchor_sizes=anchors))


def _tested(name: str, **views: Any) -> Any:
    """A row that evaluates the base model otherwise."""

    def run(trial: DetectionTrial) -> dict[str, Any]:
        trial.result("base")
        return trial.tested(name, "base", **views)

    return run


def _scales(trial: DetectionTrial) -> dict[str, Any]:
    return _tested("scales", scales=trial.images.protocol.scales)(trial)


def _labelled(images: DetectionSet) -> bool:
    return images.labelled is not None


ROWS = (
    Row(name="base", text="Faster R-CNN on stride 16", baseline=None, run=lambda trial: trial.result("base")),
    Row(name="cascade", text="Cascade RPN", baseline="base",
        run=lambda trial: trial.result("cascade", cascade_rpn=True)),
    Row(name="constrained", text="constrained negative/positive ratio in the RPN", baseline="base",
        run=lambda trial: trial.result("constrained", constrained="rpn")),
    Row(name="both", text="Cascade RPN and constrained ratio", baseline="base",
        run=lambda trial: trial.result("both", cascade_rpn=True, constrained="rpn")),
    Row(name="global_context_random", text="global context from random weights", baseline="base",
        run=lambda trial: trial.result("global_context_random", global_context="random")),
    Row(name="pretrained", text="started from a classifier", baseline="base", needs=_labelled,
        run=lambda trial: trial.result("pretrained", start_from=trial.classifier())),
    Row(name="global_context_pretrained", text="and global context from it", baseline="pretrained", needs=_labelled,
        run=lambda trial: trial.result(
            "global_context_pretrained", start_from=trial.classifier(), global_context="pretrained")),
    Row(name="class_balanced", text="a class at random, then one of its images", baseline="base",
        run=lambda trial: trial.result("class_balanced", order="class_balanced")),
    Row(name="ohem", text="online hard example mining, a pool of 300", baseline="base",
        run=lambda trial: trial.result("ohem", ohem=True)),
    Row(name="scales", text="base, tested at three scales", baseline="base", run=_scales),
    Row(name="flip", text="base, tested also mirrored", baseline="base", run=_tested("flip", flip=True)),
    Row(name="voting", text="base, box voting at IoU 0.5", baseline="base", run=_tested("voting", voting=0.5)),
)  # fmt: skip

DETECTION = Study(
    figure="ap50",
    others=("ap", "recall50", "recall70", "ar", "per_class"),
    rows=ROWS,
    sets={"bccd": bccd_set, "scenes": scene_set},
    trial=DetectionTrial,
)

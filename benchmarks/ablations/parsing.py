"""The ablation of scene parsing: heads on one backbone, rare classes, and the test, at an equal number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...cams.heatmaps import from_rare_classes
from ...pipelines.config import ParsingAugmentation, ParsingCrop
from ...pipelines.sources.masks import images_and_masks
from ...pipelines.store.reader import ImageStore
from ...trainers.models.parsing.message_passing import MessagePassingConfig
from ...trainers.models.parsing.mixed_context import MixedContextConfig
from ...trainers.models.parsing.network import FullyConvolutionalConfig, Head, ParsingConfig
from ...trainers.parsing import EvaluateConfig, TrainConfig, evaluate, train
from .sets import stored
from .study import Row, Study, Trial, costs, given, once

_SCALES = (0.75, 1.0, 1.25)


@dataclass(frozen=True, kw_only=True)
class ParsingProtocol:
    """What all rows have in common, fixed before any of their results was seen."""

    network: ParsingConfig
    """But for its head."""
    size: tuple[int, int]
    """Height and width of the training windows, pixels."""
    shorter_side: int
    """Of the images at a scale of 1, in training and in tests, pixels; figures are of the original size."""
    epochs: int
    batch_size: int = 8
    lr: float = 0.04
    weight_decay: float = 5e-4
    """Of SGD, with poly."""


@dataclass(frozen=True, kw_only=True)
class ParsingSet:
    """Stores of a set."""

    protocol: ParsingProtocol
    train: Path
    test: Path


def camvid_set(data: Path | None, out: Path) -> ParsingSet:
    """DATA/train, trainannot, val, valannot: 367 images of 360 x 480 to train on, 101 to test, seen at half size."""
    data = given(data, "camvid needs", "train/, trainannot/, val/ and valannot/")
    # A map of 23 x 30 cells: larger dilations mostly read padding. 128 channels are what two CPU cores can train. The
    # position bandwidth is halved with the images.
    network = ParsingConfig(
        backbone="resnet18",
        fcn=FullyConvolutionalConfig(width=128),
        mcn=MixedContextConfig(channels=128, width=64, dilations=(1, 2, 4, 8)),
        mpn=MessagePassingConfig(position_bandwidth=40.0),
    )
    return ParsingSet(
        protocol=ParsingProtocol(network=network, size=(180, 240), shorter_side=180, epochs=8),
        train=stored(images_and_masks(data, preset="camvid", subset="train"), out / "train.lmdb"),
        test=stored(images_and_masks(data, preset="camvid", subset="val"), out / "test.lmdb"),
    )


class ParsingTrial(Trial):
    """See Trial; `images` is a ParsingSet."""

    def result(self, name: str, head: Head, crop: ParsingCrop | None = None, **options: Any) -> dict[str, Any]:
        """A training, and its last network evaluated; options over the protocol's."""
        protocol = self.images.protocol
        crop = replace(crop or ParsingCrop(), shorter_side=protocol.shorter_side)
        config = TrainConfig(
            **self.options(name), network=replace(protocol.network, head=head), size=protocol.size,
            epochs=protocol.epochs, batch_size=protocol.batch_size, lr=protocol.lr, weight_decay=protocol.weight_decay,
            augmentation=ParsingAugmentation(crop=crop), evaluate_every=protocol.epochs, **options,
        )  # fmt: skip
        trained = once(config.out / "result.json", lambda: train(config))
        return {**self.tested(name, name), **costs(trained)}

    def tested(self, name: str, run: str, scales: Sequence[float] = (1.0,), flip: bool = False) -> dict[str, Any]:
        """The last network of a training, evaluated."""
        config = EvaluateConfig(
            checkpoint=self.last(run),
            store=self.images.test,
            threads=self.threads,
            scales=tuple(scales),
            flip=flip,
        )
        return once(self.folder / f"{name}.test.json", lambda: evaluate(config))

    def rare_class_maps(self) -> Path:
        """Where rare classes are in the training images; the same for all seeds."""
        path = self.images.train.with_name("rare_classes.lmdb")
        if not path.exists():
            from_rare_classes(ImageStore(self.images.train), path, workers=self.threads)
        return path


def _scales_and_flip(trial: ParsingTrial) -> dict[str, Any]:
    trial.result("mcn", "mcn")
    return trial.tested("scales_flip", "mcn", scales=_SCALES, flip=True)


def _rare_classes(trial: ParsingTrial) -> dict[str, Any]:
    """Half of the windows: the other half keeps the scene as it is."""
    return trial.result("rare_classes", "mcn", crop=ParsingCrop(p_sda=0.5), heatmaps=trial.rare_class_maps())


ROWS = (
    Row(name="fcn", text="plain head: one 3 x 3 convolution", baseline=None,
        run=lambda trial: trial.result("fcn", "fcn")),
    Row(name="mcn", text="Mixed Context Network", baseline="fcn", run=lambda trial: trial.result("mcn", "mcn")),
    Row(name="mcn_mpn", text="and Message Passing Network", baseline="mcn",
        run=lambda trial: trial.result("mcn_mpn", "mcn_mpn")),
    Row(name="scales_flip", text="mcn, tested at three scales, also mirrored", baseline="mcn", run=_scales_and_flip),
    Row(name="median_frequency", text="mcn, pixels weighted by class", baseline="mcn",
        run=lambda trial: trial.result("median_frequency", "mcn", class_balance="median_frequency")),
    Row(name="rare_classes", text="mcn, half of the windows guided to rare classes", baseline="mcn",
        run=_rare_classes),
)  # fmt: skip

PARSING = Study(
    figure="mean_iou",
    others=("pixel_accuracy", "score", "per_class"),
    rows=ROWS,
    sets={"camvid": camvid_set},
    trial=ParsingTrial,
)

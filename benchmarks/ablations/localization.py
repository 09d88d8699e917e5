"""The comparison of object localization: LOC = CLS + DET with its baselines, on the same images and networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...pipelines.config import Colour, DetectionAugmentation
from ...pipelines.sources.folder import folder
from ...pipelines.sources.source import Source, SourceItem
from ...trainers import classification, detection, localization
from ...trainers.models.detection.network import DetectionConfig
from ...trainers.models.detection.rpn import RPNConfig
from .sets import stored, trained_and_tested
from .study import Row, Study, Trial, costs, given, once


@dataclass(frozen=True, kw_only=True)
class LocalizationProtocol:
    """Of both networks, fixed before any result was seen."""

    network: DetectionConfig
    shorter_side: int
    """Of the detector's images, pixels."""
    epochs: int
    """Of the detector, which starts from the classifier."""
    size: int
    """Side of the classifier's windows, pixels."""
    classifier_epochs: int
    batch_size: int = 4
    lr: float = 3e-4
    ema: float = 0.99
    classifier_batch_size: int = 32
    classifier_lr: float = 1e-3


@dataclass(frozen=True, kw_only=True)
class LocalizationSet:
    """Stores of images with a class and a box of it; labelled: all images that a classifier can learn from."""

    protocol: LocalizationProtocol
    labelled: Path
    train: Path
    test: Path


def pet_heads(data: Path | None, out: Path) -> LocalizationSet:
    """DATA/images, a folder a breed, and DATA/xmls, a head's box for some; numbers that end in 0, 1 or 2 are tested."""
    root = given(data, "pets need", "images/ and xmls/")
    whole = folder(root / "images", annotations=root / "xmls")
    boxed = [item for item in whole.items if (root / "xmls" / f"{Path(item.name).stem}.xml").exists()]
    return _pet_set(root, replace(whole, items=boxed), out)


def whole_pets(data: Path | None, out: Path) -> LocalizationSet:
    """DATA/images, and boxes around pet and border (1 and 3) of DATA/trimaps, some of them empty; the same split."""
    root = given(data, "pets need", "images/ and trimaps/")
    whole = folder(root / "images", masks=root / "trimaps", boxes_from_masks=(1, 3))
    return _pet_set(root, replace(whole, items=[item for item in whole.items if _has_box(item)]), out)


class LocalizationTrial(Trial):
    """A classifier, a detector that starts from it, one evaluation of all methods; `images` is a LocalizationSet."""

    def localized(self) -> dict[str, Any]:
        """CLS + DET, with the detector's AP50 beside it."""
        trained = [self._classifier(), self._detector()]
        found = self._evaluated()
        return {**_shares(found), **costs(*trained), "ap50": self._detected()["ap50"]}

    def baseline(self, name: str) -> dict[str, Any]:
        self.localized()
        return _shares(self._evaluated()["baselines"][name])

    def _evaluated(self) -> dict[str, Any]:
        config = localization.EvaluateConfig(
            store=self.images.test,
            classifier=(self.last("classifier"),),
            detector=(self.last("detector"),),
            top=1,
            picture=self.folder / "predictions.png",
            overwrite=True,
            threads=self.threads,
        )
        return once(self.folder / "test.json", lambda: localization.evaluate(config))

    def _detected(self) -> dict[str, Any]:
        config = detection.EvaluateConfig(
            checkpoint=(self.last("detector"),), store=self.images.test, threads=self.threads
        )
        return once(self.folder / "detector.test.json", lambda: detection.evaluate(config))

    def _classifier(self) -> dict[str, Any]:
        protocol = self.images.protocol
        config = classification.TrainConfig(
            **{**self.options("classifier"), "store": self.images.labelled}, model=protocol.network.backbone,
            size=protocol.size, epochs=protocol.classifier_epochs, batch_size=protocol.classifier_batch_size,
            optimizer="adamw", lr=protocol.classifier_lr, test_crop="whole", evaluate_every=protocol.classifier_epochs,
        )  # fmt: skip
        return once(config.out / "result.json", lambda: classification.train(config))

    def _detector(self) -> dict[str, Any]:
        protocol = self.images.protocol
        config = localization.TrainConfig(
            **self.options("detector"), network=protocol.network, start_from=self.last("classifier"),
            shorter_side=(protocol.shorter_side,), epochs=protocol.epochs, batch_size=protocol.batch_size,
            optimizer="adamw", lr=protocol.lr, schedule="cosine", ema=protocol.ema,
            augmentation=DetectionAugmentation(colour=Colour(brightness=0.2, contrast=0.2, saturation=0.2)),
            evaluate_every=protocol.epochs,
        )  # fmt: skip
        return once(config.out / "result.json", lambda: localization.train(config))


def _has_box(item: SourceItem) -> bool:
    boxes = item.load().boxes
    return boxes is not None and len(boxes.labels) > 0


def _pet_set(root: Path, boxed: Source, out: Path) -> LocalizationSet:
    """The classifier learns from all training images, the detector from those with a box."""
    train, test = trained_and_tested(boxed)
    return LocalizationSet(
        protocol=LocalizationProtocol(
            network=DetectionConfig(
                backbone="resnet18", roi_size=7, regions=32, rpn=RPNConfig(anchor_sizes=(32, 64, 128))
            ),
            shorter_side=192,
            epochs=15,
            size=112,
            classifier_epochs=50,
        ),
        labelled=stored(trained_and_tested(folder(root / "images"))[0], out / "labelled.lmdb"),
        train=stored(train, out / "train.lmdb"),
        test=stored(test, out / "test.lmdb"),
    )


def _shares(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: figures[name] for name in ("error", *OTHERS)}


OTHERS = ("box_wrong", "label_wrong", "both_wrong", "classification_error")

ROWS = (
    Row(name="cls_det", text="the classifier's class, the detector's box for it", baseline=None,
        run=lambda trial: trial.localized()),
    Row(name="cam_box", text="the classifier's class, its activation map's box", baseline="cls_det",
        run=lambda trial: trial.baseline("cam_box")),
    Row(name="whole_image", text="the classifier's class, the whole image", baseline="cls_det",
        run=lambda trial: trial.baseline("whole_image")),
    Row(name="detector_alone", text="the detector's class and box", baseline="cls_det",
        run=lambda trial: trial.baseline("detector_alone")),
    Row(name="perfect_classifier", text="the true class, the detector's box for it", baseline="cls_det",
        run=lambda trial: trial.baseline("perfect_classifier")),
)  # fmt: skip

LOCALIZATION = Study(
    figure="error",
    others=(*OTHERS, "ap50"),
    rows=ROWS,
    sets={"pet_heads": pet_heads, "pets": whole_pets},
    trial=LocalizationTrial,
)

"""The rows of the classification ablation: what each trains, how it is tested, and what it is compared with.

Rows share runs: the coarse model is the plain run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...cams.heatmaps import from_masks
from ...pipelines.config import Augmentation, Crop
from ...pipelines.loader.soft_labels import SoftLabels
from ...pipelines.store.reader import ImageStore
from ...trainers.classification import EvaluateConfig, TrainConfig, evaluate, train
from ...trainers.classification.activation_maps import activation_maps
from ...trainers.classification.config import ConfusionConfig
from ...trainers.classification.confusion import confusion
from .sets import SETS, ImageSet
from .study import Row, Study, Trial, once

_KEPT = 6  # networks of past epochs that a plain run keeps
_EPS = 0.1  # what leaves the label, in label smoothing and soft labels


class ClassificationTrial(Trial):
    """See Trial; `images` is an ImageSet."""

    def trained(self, name: str, **options: Any) -> dict[str, Any]:
        """The result of a training, by `train`; options over the protocol's."""
        protocol = self.images.protocol
        epochs = options.get("epochs", protocol.epochs)
        defaults: dict[str, Any] = {
            **self.options(name), "model": protocol.model, "size": protocol.size, "epochs": epochs,
            "batch_size": protocol.batch_size, "optimizer": "adamw", "lr": protocol.lr,
            "test_crop": protocol.test_crop, "evaluate_every": epochs,
        }  # fmt: skip
        return once(self.folder / name / "result.json", lambda: train(TrainConfig(**{**defaults, **options})))

    def tested(self, name: str, run: str, **options: Any) -> dict[str, Any]:
        """The last network of a training, evaluated in another way."""
        config = EvaluateConfig(checkpoint=self.last(run), store=self.images.test, threads=self.threads, **options)
        return once(self.folder / f"{name}.test.json", lambda: evaluate(config))

    def plain(self) -> dict[str, Any]:
        """The plain run, which is the coarse model too."""
        return self.trained("plain", keep_every=max(self.images.protocol.epochs // _KEPT, 1))

    def guided(self, name: str, maps: Path, **options: Any) -> dict[str, Any]:
        """A training whose windows follow a heatmap store."""
        augmentation = Augmentation(crop=Crop(gamma=self.images.protocol.gamma))
        return self.trained(name, heatmaps=maps, augmentation=augmentation, **options)

    def sda(self) -> dict[str, Any]:
        """Guided by the plain run's maps."""
        return self.guided("sda", self.activation_maps())

    def equal_compute(self) -> dict[str, Any]:
        """Plain crops for as long as the plain run and the guided one together."""
        return self.trained("plain_equal_compute", epochs=2 * self.images.protocol.epochs)

    @property
    def plain_epochs(self) -> int:
        """How many last epochs are without augmentation, where a row says so: the talk's few, or a quarter."""
        return min(4, self.images.protocol.epochs // 4)

    def activation_maps(self) -> Path:
        """The plain run's maps of the training images."""
        self.plain()
        path = self.folder / "cams.lmdb"
        if not path.exists():
            store = ImageStore(self.images.train)
            activation_maps(store, path, checkpoint=self.last("plain"), threads=self.threads)
        return path

    def true_maps(self) -> Path:
        """Maps from the masks."""
        path = self.folder / "masks.lmdb"
        if not path.exists():
            foreground = self.images.protocol.foreground
            from_masks(ImageStore(self.images.train), path, foreground=foreground, workers=self.threads)
        return path

    def confusion(self) -> Path:
        """The plain run's confusion on held-out images."""
        assert self.images.held_out is not None
        self.plain()
        path, last = self.folder / "confusion.h5", self.last("plain")
        if not path.exists():
            confusion(ConfusionConfig(checkpoint=last, store=self.images.held_out, out=path, threads=self.threads))
        return path


def _uniform_map(trial: ClassificationTrial) -> dict[str, Any]:
    return trial.trained("uniform_map", augmentation=Augmentation(crop=Crop(offset="clamped")))


def _plain_last(trial: ClassificationTrial) -> dict[str, Any]:
    return trial.trained("plain_last", plain_epochs=trial.plain_epochs)


def _sda_plain_last(trial: ClassificationTrial) -> dict[str, Any]:
    return trial.guided("sda_plain_last", trial.activation_maps(), plain_epochs=trial.plain_epochs)


def _soft_labels(trial: ClassificationTrial) -> dict[str, Any]:
    return trial.trained("soft_labels", soft_labels=trial.confusion(), soft=SoftLabels(eps=_EPS))


def _multi_scale_training(trial: ClassificationTrial) -> dict[str, Any]:
    return trial.trained("multi_scale_training", sizes=trial.images.protocol.sizes)


def _multi_scale_both(trial: ClassificationTrial) -> dict[str, Any]:
    _multi_scale_training(trial)
    return trial.tested("multi_scale_both", "multi_scale_training", scales=trial.images.protocol.sizes)


def _long_tailed(trial: ClassificationTrial) -> dict[str, Any]:
    """Plain order, for as many images as label shuffling sees."""
    assert trial.images.long_tailed is not None
    tail, whole = (len(ImageStore(path)) for path in (trial.images.long_tailed, trial.images.train))
    epochs = round(trial.images.protocol.epochs * whole / tail)
    return trial.trained("long_tailed", store=trial.images.long_tailed, epochs=epochs)


def _label_shuffle(trial: ClassificationTrial) -> dict[str, Any]:
    """Classes times the largest class is the whole set's size, so its epochs are as long."""
    return trial.trained("label_shuffle", store=trial.images.long_tailed, order="label_shuffle")


def _multi_scale_test(trial: ClassificationTrial) -> dict[str, Any]:
    trial.plain()
    return trial.tested("multi_scale_test", "plain", scales=trial.images.protocol.sizes)


def _flip(trial: ClassificationTrial) -> dict[str, Any]:
    trial.plain()
    return trial.tested("flip", "plain", flip=True)


def _crops_32(trial: ClassificationTrial) -> dict[str, Any]:
    trial.plain()
    return trial.tested("crops_32", "plain", crops=32)


def _sda_crops_32(trial: ClassificationTrial) -> dict[str, Any]:
    trial.sda()
    return trial.tested("sda_crops_32", "sda", crops=32)


def _equal_compute_crops_32(trial: ClassificationTrial) -> dict[str, Any]:
    trial.equal_compute()
    return trial.tested("equal_compute_crops_32", "plain_equal_compute", crops=32)


def _last_3_checkpoints(trial: ClassificationTrial) -> dict[str, Any]:
    trial.plain()
    return trial.tested("last_3_checkpoints", "plain", checkpoints="last3")


def _has_masks(images: ImageSet) -> bool:
    return images.protocol.foreground is not None


def _has_held_out(images: ImageSet) -> bool:
    return images.held_out is not None


def _has_long_tail(images: ImageSet) -> bool:
    return images.long_tailed is not None


ROWS = (
    Row(name="plain", text="plain crops; also the coarse model", baseline=None, run=ClassificationTrial.plain),
    Row(name="sda", text="guided by the coarse model's maps", baseline="plain",
        run=ClassificationTrial.sda),
    Row(name="plain_equal_compute", text="plain, twice the epochs: a coarse and a guided run's compute",
        baseline="plain", run=ClassificationTrial.equal_compute),
    Row(name="uniform_map", text="control: a uniform map, so centres are clamped", baseline="plain", run=_uniform_map),
    Row(name="oracle_map", text="guided by the true masks", baseline="plain", needs=_has_masks,
        run=lambda trial: trial.guided("oracle_map", trial.true_maps())),
    Row(name="plain_last", text="no augmentation but the flip in the last epochs", baseline="plain", run=_plain_last),
    Row(name="sda_plain_last", text="guided, and no augmentation in the last epochs", baseline="plain_last",
        run=_sda_plain_last),
    Row(name="label_smoothing", text=f"label smoothing {_EPS}", baseline="plain", needs=_has_held_out,
        run=lambda trial: trial.trained("label_smoothing", label_smoothing=_EPS)),
    Row(name="soft_labels", text=f"soft labels from the confusion, eps {_EPS}", baseline="plain", needs=_has_held_out,
        run=_soft_labels),
    Row(name="multi_scale_training", text="a size drawn for each step", baseline="plain", run=_multi_scale_training),
    Row(name="multi_scale_both", text="and tested at all sizes", baseline="plain", run=_multi_scale_both),
    Row(name="multi_scale_test", text="tested at several sizes", baseline="plain", run=_multi_scale_test),
    Row(name="flip", text="tested with the mirror image too", baseline="plain", run=_flip),
    Row(name="crops_32", text="tested on 32 random crops", baseline="plain", run=_crops_32),
    Row(name="sda_crops_32", text="guided, tested on 32 random crops", baseline="crops_32", run=_sda_crops_32),
    Row(name="equal_compute_crops_32", text="plain, twice the epochs, tested on 32 random crops", baseline="crops_32",
        run=_equal_compute_crops_32),
    Row(name="last_3_checkpoints", text="tested with three networks of the run", baseline="plain",
        run=_last_3_checkpoints),
    Row(name="long_tailed", text="long-tailed set, plain order, as many images", baseline=None, needs=_has_long_tail,
        run=_long_tailed),
    Row(name="label_shuffle", text="long-tailed set, label shuffling", baseline="long_tailed", needs=_has_long_tail,
        run=_label_shuffle),
)  # fmt: skip

CLASSIFICATION = Study(figure="top1", rows=ROWS, sets=SETS, class_names=False, trial=ClassificationTrial)

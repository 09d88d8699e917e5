"""Recipes: whole training configurations of classifiers, each a function that gives keyword arguments of TrainConfig.

    paths = {"store": Path("pets.lmdb"), "val_store": Path("pets.val.lmdb"), "out": Path("run")}
    config = TrainConfig(**recipe("inception_v3"), **paths)

All train as the talk does (Hikvision 2016): scale-and-aspect crops, colour 0.4, lighting 0.1, a kernel at random, SGD,
and four last epochs without augmentation. The talk names the families of networks but no hyperparameters: those come
from the sources in the docstrings, always with momentum 0.9. Where the sources lower the learning rate in steps, these
recipes use a warm-up of five epochs and a cosine, with a peak of 0.1 for each 256 images of a step (Goyal et al. 2017).
Costs are computed for 1,000 classes: one forward pass for each image; a multiplication with its addition is one MAC.
"""

from __future__ import annotations

from typing import Any

from ...pipelines.config import INTERPOLATIONS, Augmentation, Colour, Crop
from ..core.checks import checked_recipe


def recipe(name: str) -> dict[str, Any]:
    """The TrainConfig arguments of a recipe, by its name in RECIPES; raises InputError for an unknown name."""
    return checked_recipe(name, RECIPES)()


def inception_v3() -> dict[str, Any]:
    """Inception-v3 with its auxiliary head, at 299 pixels: the talk's first network, sparing for its accuracy.

    Source: Szegedy et al., CVPR 2016: label smoothing 0.1, 100 epochs, 32 images a device; weight decay of
    TensorFlow-slim. They train with RMSProp, the talk with momentum.
    Cost, computed: 27.2 M parameters (3.3 of them the auxiliary head's), 5.7 GMACs. Its class activation map is exact.

        sdali train classification --recipe inception_v3 --store STORE --val-store VAL --out DIR
    """
    return _inception(model="inception_v3", model_args=("aux_logits=True",))


def inception_resnet_v2() -> dict[str, Any]:
    """Inception-ResNet-v2 at 299 pixels: the talk's second network, more accurate at over twice the cost.

    Source: Szegedy et al., AAAI 2017: dropout 0.2 before the classifier; the rest as for Inception-v3, its length too.
    Cost, computed: 55.8 M parameters, 13.2 GMACs. Its class activation map is exact.

        sdali train classification --recipe inception_resnet_v2 --store STORE --val-store VAL --out DIR
    """
    return _inception(model="inception_resnet_v2", model_args=("drop_rate=0.2",))


def wide_resnet50_2() -> dict[str, Any]:
    """ResNet-50 with twice the width inside its blocks, at 224 pixels: the talk's wider ResNet of 50 layers.

    Source: Zagoruyko and Komodakis, BMVC 2016, who train as fb.resnet.torch does: 90 epochs, weight decay 0.0001.
    Cost, computed: 68.9 M parameters, 11.4 GMACs. Its class activation map is exact.

        sdali train classification --recipe wide_resnet50_2 --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="wide_resnet50_2")


def wide_resnet101_2() -> dict[str, Any]:
    """ResNet-101 with twice the width inside its blocks, at 224 pixels: for many images and several GPUs.

    Source: as wide_resnet50_2.
    Cost, computed: 126.9 M parameters, 22.8 GMACs. Its class activation map is exact.

        sdali train classification --recipe wide_resnet101_2 --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="wide_resnet101_2")


def resnetv2_101() -> dict[str, Any]:
    """ResNet-101 with identity mappings, at 224 pixels: the talk's detectors were best on it.

    Source: He et al., ECCV 2016, trained as fb.resnet.torch does: 90 epochs, weight decay 0.0001.
    Cost, computed: 44.5 M parameters, 7.8 GMACs. Its class activation map is exact.

        sdali train classification --recipe resnetv2_101 --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="resnetv2_101")


def wide_resnet65_2() -> dict[str, Any]:
    """Deeper: wide_resnet50_2 with 11 blocks in its third stage in place of 6, 65 layers in all.

    The talk has a wider ResNet of 64 layers and says no more; with three layers a block, 65 is the nearest. That the
    third stage takes all the new blocks, as from ResNet-50 to ResNet-101, is our choice. The rest as wide_resnet50_2.
    Cost, computed: 85.9 M parameters, 14.7 GMACs. Its class activation map is exact.

        sdali train classification --recipe wide_resnet65_2 --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="wide_resnet50_2", model_args=("layers=3,4,11,3",))


def wide_resnet50_3() -> dict[str, Any]:
    """Wider: ResNet-50 with three times the width inside its blocks.

    Our choice of width; the rest as wide_resnet50_2.
    Cost, computed: 134.8 M parameters, 22.4 GMACs. Its class activation map is exact.

        sdali train classification --recipe wide_resnet50_3 --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="wide_resnet50_2", model_args=("base_width=192",))


def small_cpu() -> dict[str, Any]:
    """ResNet-10-T at 96 pixels: for CPUs, first trials and coarse models that activation maps are taken from.

    Source: our choice, but for weight decay and momentum, which are fb.resnet.torch's.
    Cost, computed: 5.4 M parameters, 0.2 GMACs. Its class activation map is exact.

        sdali train classification --recipe small_cpu --store STORE --val-store VAL --out DIR
    """
    return _resnet(model="resnet10t", size=96, batch_size=64, epochs=30, warmup_epochs=1.0)


def _inception(**values: Any) -> dict[str, Any]:
    return _talk(**{"size": 299, "epochs": 100, "weight_decay": 0.00004, "label_smoothing": 0.1, **values})


def _resnet(**values: Any) -> dict[str, Any]:
    return _talk(**{"size": 224, "epochs": 90, "weight_decay": 0.0001, **values})


def _talk(**values: Any) -> dict[str, Any]:
    """The talk's settings, stated in full so that a change of the defaults does not change a recipe."""
    augmentation = Augmentation(
        crop=Crop(kind="scale_aspect", area=(0.08, 1.0), aspect=(3 / 4, 4 / 3)),
        colour=Colour(brightness=0.4, contrast=0.4, saturation=0.4, lighting=0.1),
        interpolations=INTERPOLATIONS,
    )
    talk = {"optimizer": "sgd", "momentum": 0.9, "augmentation": augmentation, "plain_epochs": 4}
    return {**talk, "batch_size": 32, "warmup_epochs": 5.0, **values}


RECIPES = {
    function.__name__: function
    for function in (
        inception_v3, inception_resnet_v2, wide_resnet50_2, wide_resnet101_2, resnetv2_101, wide_resnet65_2,
        wide_resnet50_3, small_cpu,
    )
}  # fmt: skip
"""Every recipe, by its name."""

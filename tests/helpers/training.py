"""Stores whose classes a small network learns at once, and a tiny network with dropout; shared by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import timm.models
from pictures import jpeg
from torch import Tensor, nn

from sdali.pipelines import ImageStore
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers.classification import TrainConfig

CLASSES = ("dark", "bright", "striped")


def picture(label: int, seed: int) -> np.ndarray:
    """uint8 [H, W, 3]: noise around a dark level, a bright one, or both in turns, which colour jitter leaves apart."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(32, 48, 2))
    level = [np.full(width, 50), np.full(width, 200), np.where(np.arange(width) // 4 % 2, 50, 200)][label]
    return np.clip(level[None, :, None] + rng.normal(0, 20, (height, width, 3)), 0, 255).astype(np.uint8)


def learnable_store(path: Path, count: int, classes: tuple[str, ...] = CLASSES) -> ImageStore:
    with StoreWriter(path, classes=classes) as writer:
        for index in range(count):
            label = index % 3
            image = picture(label, count * 1000 + index)
            height, width = image.shape[:2]
            writer.add(jpeg(image), label=label, height=height, width=width, name=f"{CLASSES[label]}/{index}.jpg")
    return ImageStore(path)


class TinyNet(nn.Module):
    """What resuming can get wrong, in little: batch statistics, dropout, a head that timm knows."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU()
        )
        self.dropout, self.fc = nn.Dropout(0.3), nn.Linear(16, num_classes)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.features(x)

    def forward_head(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(x.mean((2, 3))))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Module:
        return self.fc


def tiny_dropout_net(num_classes: int = 1000, **_: Any) -> TinyNet:
    return TinyNet(num_classes)


class TinyAuxiliaryNet(TinyNet):
    """In training also the scores of a second head, as Inception-v3 has it; `wide` is an argument of its own."""

    def __init__(self, num_classes: int, *, wide: int = 8) -> None:
        super().__init__(num_classes)
        self.auxiliary = nn.Sequential(nn.Conv2d(16, wide, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.auxiliary.append(nn.Linear(wide, num_classes))

    def forward(self, x: Tensor) -> Any:
        features = self.forward_features(x)
        logits = self.forward_head(features)
        return (logits, self.auxiliary(features)) if self.training else logits


def tiny_auxiliary_net(num_classes: int = 1000, wide: int = 8, **_: Any) -> TinyAuxiliaryNet:
    return TinyAuxiliaryNet(num_classes, wide=wide)


timm.models.register_model(tiny_dropout_net)
timm.models.register_model(tiny_auxiliary_net)


def tiny_config(folder: Path, out: str = "run", **options: Any) -> TrainConfig:
    """Two epochs of 6 steps over folder/train.lmdb."""
    options = {"model": "tiny_dropout_net", "epochs": 2, "batch_size": 16, "size": 32, "threads": 1, **options}
    return TrainConfig(store=folder / "train.lmdb", val_store=folder / "val.lmdb", out=folder / out, **options)

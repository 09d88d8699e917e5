"""The image sets of the ablations: their stores, and the protocol of all rows, fixed before any result was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...pipelines.build.build import build
from ...pipelines.config import TestCrop
from ...pipelines.io.progress import silent
from ...pipelines.sources.folder import folder
from ...pipelines.sources.source import Source, SourceItem
from ...pipelines.store.measure import measure, save
from ...pipelines.store.reader import ImageStore
from ..scenes.render import OBJECT
from ..scenes.source import scenes
from .study import given

_TAIL = 20  # how often the largest class of a long-tailed set holds the smallest


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings that all rows of a set share."""

    model: str = "convnet4"
    size: int = 96
    """Side of the network's input in training and in tests, pixels."""
    sizes: tuple[int, ...] = (80, 96, 112)
    """Sides of the rows that train or test at several."""
    epochs: int
    batch_size: int = 32
    lr: float = 3e-3
    """Peak, of AdamW."""
    test_crop: TestCrop = "whole"
    gamma: float = 2.0
    """Sharpens the maps that windows follow, as in the demo."""
    foreground: tuple[int, ...] | None = None
    """Mask values that are the object. None: the set has no masks."""


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Stores of a set. held_out: neither trained nor tested on; long_tailed: a part of train."""

    protocol: Protocol
    train: Path
    test: Path
    held_out: Path | None = None
    long_tailed: Path | None = None


def scene_set(_: Path | None, out: Path) -> ImageSet:
    """Generated scenes, for anyone: 1,200 to train on, 2,000 to test, 400 held out; objects of 0.30 to 0.45 of the
    side.
    """
    train = scenes(1200, seed=0)
    return ImageSet(
        protocol=Protocol(epochs=18, foreground=(OBJECT,)),
        train=stored(train, out / "train.lmdb"),
        test=stored(scenes(2000, seed=1), out / "test.lmdb"),
        held_out=stored(scenes(400, seed=2), out / "held_out.lmdb"),
        long_tailed=stored(_tail(train), out / "long_tailed.lmdb"),
    )


def imagenette_set(data: Path | None, out: Path) -> ImageSet:
    """DATA/train and DATA/val, a folder a class: half of train is trained on, an eighth held out, val is the test."""
    data = given(data, "imagenette needs", "train/ and val/")
    whole = folder(data / "train")
    train = _subset(whole, whole.items[0::2])
    return ImageSet(
        protocol=Protocol(epochs=12),
        train=stored(train, out / "train.lmdb"),
        test=stored(folder(data / "val"), out / "test.lmdb"),
        held_out=stored(_subset(whole, whole.items[1::8]), out / "held_out.lmdb"),
        long_tailed=stored(_tail(train), out / "long_tailed.lmdb"),
    )


def pet_set(data: Path | None, out: Path) -> ImageSet:
    """DATA/images, a folder a breed, and DATA/trimaps (1 is the pet): numbers that end in 0, 1 or 2 are the test."""
    data = given(data, "pets needs", "images/ and trimaps/")
    train, test = trained_and_tested(folder(data / "images", masks=data / "trimaps"))
    return ImageSet(
        protocol=Protocol(epochs=40, foreground=(1,)),
        train=stored(train, out / "train.lmdb"),
        test=stored(test, out / "test.lmdb"),
    )


def trained_and_tested(pets: Source) -> tuple[Source, Source]:
    """The split of the pets: photographs whose numbers end in 0, 1 or 2 are the test."""
    tested = [Path(item.name).stem[-1] in "012" for item in pets.items]
    train, test = (
        _subset(pets, [item for item, of_test in zip(pets.items, tested, strict=True) if of_test == wanted])
        for wanted in (False, True)
    )
    return train, test


SETS: dict[str, Callable[[Path | None, Path], ImageSet]] = {
    "scenes": scene_set,
    "imagenette": imagenette_set,
    "pets": pet_set,
}


def _subset(source: Source, items: Sequence[SourceItem]) -> Source:
    return replace(source, items=items)


def _tail(source: Source) -> Source:
    """Class k of K keeps n / 20 ** (k / (K - 1)) of its images, those that come first."""
    labels = np.array([item.label for item in source.items])
    counts = np.bincount(labels)
    wanted = np.round(counts * _TAIL ** -np.linspace(0, 1, len(counts))).astype(int)
    rank = np.zeros(len(labels), int)
    for label, count in enumerate(counts):
        rank[labels == label] = np.arange(count)
    kept = np.flatnonzero(rank < wanted[labels]).tolist()
    return _subset(source, [source.items[index] for index in kept])


def stored(source: Source, path: Path) -> Path:
    """Built and measured, unless an earlier run has done so."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        build(source, path, transcode=True, progress=silent)
    store = ImageStore(path)
    if store.statistics is None:
        save(store, measure(store, progress=silent))
    return path

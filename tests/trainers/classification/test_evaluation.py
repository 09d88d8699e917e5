from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import learnable_store, tiny_config

from sdali.pipelines import Crop, InputError, classification
from sdali.pipelines.store.statistics import Statistics
from sdali.trainers.classification import EvaluateConfig, evaluate, train
from sdali.trainers.classification.evaluation import kept_checkpoints, trained_crop
from sdali.trainers.classification.predictions import Predictions
from sdali.trainers.core.networks import load_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 5 epochs that kept three networks, and 29 images to test."""
    folder = tmp_path_factory.mktemp("evaluation")
    learnable_store(folder / "train.lmdb", 60)
    learnable_store(folder / "val.lmdb", 29)
    learnable_store(folder / "other.lmdb", 28)
    train(tiny_config(folder, epochs=5, keep_every=2, precision="float32"))
    return folder


def config(folder: Path, **options: Any) -> EvaluateConfig:
    defaults = {"checkpoint": folder / "run" / "last.pt", "store": folder / "val.lmdb", "threads": 1}
    return EvaluateConfig(**{**defaults, "precision": "float32", "batch_size": 20, **options})


def softmax_by_hand(folder: Path, checkpoint: str, size: int, crops: int, flip: bool) -> np.ndarray:
    """float64 [29, views, 3]: one pass over one loader, image after image."""
    loaded = load_network(folder / "run" / checkpoint, "cpu")
    model, saved = loaded.module, loaded.contents
    loader = classification.test_loader(
        folder / "val.lmdb", batch_size=29, size=size, crops=crops, random_flip=not flip, device="cpu",
        statistics=Statistics.from_dict(saved["statistics"]),
    )  # fmt: skip
    (batch,) = loader
    images = batch["image"] if crops > 1 else batch["image"][:, None]
    if flip:
        images = torch.cat([images, images.flip(-1)], 1)
    with torch.no_grad():
        return np.stack([model(views).double().softmax(1).numpy() for views in images])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "checkpoints", "sizes", "crops", "flip"),
    [
        ({}, ["last.pt"], [32], 1, False),
        ({"flip": True}, ["last.pt"], [32], 1, True),
        ({"crops": 10}, ["last.pt"], [32], 10, False),
        ({"crops": 4, "flip": True, "scales": (32, 40)}, ["last.pt"], [32, 40], 4, True),
        ({"crops": 3, "checkpoints": "last2"}, ["epoch-0002.pt", "epoch-0004.pt"], [32], 3, False),
    ],
)
def test_every_view_counts_alike(folder: Path, tmp_path: Path, options, checkpoints, sizes, crops, flip) -> None:
    """The file of predictions holds what each network says of each view, and the figures are of their mean."""
    result = evaluate(config(folder, predictions=tmp_path / "p.h5", **options))
    want = np.stack(
        [np.stack([softmax_by_hand(folder, name, size, crops, flip) for size in sizes], 1) for name in checkpoints],
        1,
    )
    found = Predictions(tmp_path / "p.h5")
    assert [entry["name"] for entry in found.checkpoints] == checkpoints and list(found.scales) == sizes
    for view in range(want.shape[3]):
        np.testing.assert_allclose(found.mean(views=[view]), want[:, :, :, view].mean((1, 2)), atol=1e-5)
    np.testing.assert_allclose(found.mean(), want.mean((1, 2, 3)), atol=1e-5)
    mean, labels = want.mean((1, 2, 3)), np.arange(29) % 3
    assert result["top1"] == (mean.argmax(1) == labels).mean()
    assert result["loss"] == pytest.approx(-np.log(mean[np.arange(29), labels]).mean(), abs=1e-4)
    assert result["top1_error"] == 1 - result["top1"] and 0 <= result["ece"] <= 1
    assert result["checkpoints"] == [str(folder / "run" / name) for name in checkpoints]


def test_random_windows_are_those_of_the_training(folder: Path, tmp_path: Path) -> None:
    """A run with windows of at least half of the image is tested with such windows."""
    assert trained_crop({"augmentation.crop.area": (0.5, 1.0), "augmentation.flip": 0.5, "lr": 1.0}) == Crop(
        area=(0.5, 1.0)
    )


def test_the_picture_is_drawn(folder: Path, tmp_path: Path) -> None:
    result = evaluate(config(folder, picture=tmp_path / "confusion.png"))
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG") and result["picture"].endswith(".png")


def test_kept_networks_are_the_last_ones(folder: Path) -> None:
    names = [path.name for path in kept_checkpoints(folder / "run" / "last.pt", 2)]
    assert names == ["epoch-0002.pt", "epoch-0004.pt"]
    with pytest.raises(InputError, match=r"holds 2 networks of past epochs .* and 3 are asked for; train with --keep-"):
        evaluate(config(folder, checkpoints="last3"))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crops": 0}, "crops must be at least 1, got 0"),
        ({"scales": (32, 0)}, "scales must be at least 1, got 0"),
        ({"scales": (32, 32)}, "scales must differ, got 32, 32"),
        ({"scales": (32,), "size": 32}, "scales and size both give the network's input"),
        ({"crops": 10, "flip": True}, "the ten crops hold their mirror images already"),
        ({"checkpoints": "last0"}, "checkpoints must be last and a number, such as last3, got 'last0'"),
        ({"checkpoints": "first3"}, "checkpoints must be last and a number"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        config(folder, **options)


def test_predictions_are_not_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    """The file there is stays, before any image is read; --overwrite replaces it."""
    path = tmp_path / "p.h5"
    path.write_bytes(before := b"\x89HDF\r\n\x1a\nprecious")
    with pytest.raises(InputError, match=r"p\.h5 exists already; .* pass overwrite=True"):
        evaluate(config(folder, predictions=path))
    assert path.read_bytes() == before
    evaluate(config(folder, predictions=path, overwrite=True))
    assert len(Predictions(path)) == 29

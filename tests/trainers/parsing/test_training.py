"""Training and testing networks of scene parsing, whole: from stores to figures, and on after a signal."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from parsing_stores import CLASSES, IGNORE, make_parsing_store, write_store
from pictures import jpeg
from PIL import Image
from resuming import state_difference, whole_and_resumed
from training import learnable_store, tiny_config

from sdali.pipelines import ImageStore, InputError, parsing
from sdali.pipelines.config import Colour, ParsingAugmentation, ParsingCrop
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.statistics import Statistics
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers import classification as classifiers
from sdali.trainers.core import checkpoint
from sdali.trainers.core.networks import load_network
from sdali.trainers.core.process import Process
from sdali.trainers.metrics.mean_iou import MeanIou
from sdali.trainers.models.parsing.mixed_context import MixedContextConfig
from sdali.trainers.models.parsing.network import ParsingConfig
from sdali.trainers.parsing import EvaluateConfig, TrainConfig, evaluate, train
from sdali.trainers.parsing import job as parsing_job

CPU = Process(device=torch.device("cpu"))
SMALL = ParsingConfig(backbone="resnet10t", mcn=MixedContextConfig(channels=16, width=8, dilations=(1, 2)))
PLAIN = Colour(brightness=0, contrast=0, saturation=0, lighting=0)


def striped(seed: int, height: int = 48, width: int = 64) -> tuple[bytes, np.ndarray]:
    """A picture whose rows say what they are: broad bands of grey levels, class k of level 20 + 50 k, and ignored."""
    rng = np.random.default_rng(seed)
    bands = rng.permutation(CLASSES).repeat(-(-height // CLASSES))[:height]
    mask = np.repeat(bands[:, None], width, 1).astype(np.uint8)
    mask[:, :3] = IGNORE
    levels = np.where(mask == IGNORE, 255, 20 + 50 * mask.astype(int))[:, :, None]
    return jpeg(np.clip(levels + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)), mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parsing")
    write_store(folder / "train.lmdb", [striped(seed) for seed in range(32)])
    write_store(folder / "val.lmdb", [striped(100 + seed) for seed in range(7)])
    return folder


def config_of(folder: Path, out: str = "run", **options: Any) -> TrainConfig:
    """Small and short, over folder/train.lmdb."""
    augmentation = ParsingAugmentation(colour=PLAIN, crop=ParsingCrop(scale=(0.75, 1.25)))
    defaults: dict[str, Any] = {
        "network": SMALL, "size": (48, 64), "batch_size": 8, "epochs": 2, "threads": 1, "precision": "float32",
        "augmentation": augmentation,
    }  # fmt: skip
    paths = {"store": folder / "train.lmdb", "val_store": folder / "val.lmdb", "out": folder / out}
    return TrainConfig(**{**defaults, **paths, **options})


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A run that has learnt what a band's level means."""
    config = config_of(folder, "trained", epochs=10, batch_size=4, optimizer="adamw", lr=0.01, ema=0.8)
    return config.out, train(config)


@pytest.mark.slow
def test_a_run_learns(trained: tuple[Path, dict[str, Any]]) -> None:
    """All classes are found, from random weights, and the result says so."""
    out, result = trained
    assert result["score"] > 0.7 and result["best_score"] >= result["score"] and result["steps"] == 80
    assert {path.name for path in out.iterdir()} >= {"last.pt", "best.pt", "log.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize("views", [{}, {"scales": (0.75, 1.0, 1.5), "flip": True}])
def test_evaluate_equals_a_loop_by_hand(
    folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path, views: dict[str, Any]
) -> None:
    """Scales and mirror images one by one, brought to the masks' size; predictions on disk are those counted."""
    path, val = trained[0] / "best.pt", folder / "val.lmdb"
    found = evaluate(EvaluateConfig(checkpoint=path, store=val, precision="float32", predictions=tmp_path, **views))
    loaded = load_network(path, "cpu")
    network, saved = loaded.module, loaded.contents
    store, metric = ImageStore(val), MeanIou.empty(CLASSES)
    for index in range(len(store)):
        total = torch.zeros(CLASSES, *store.sizes[index])
        for scale in views.get("scales", (1.0,)):
            statistics = Statistics.from_dict(saved["statistics"])
            loader = parsing.test_loader(store, scale=scale, statistics=statistics, device="cpu")
            image = next(batch["image"] for batch in loader if batch["index"].item() == index)
            loader.close()
            for flipped in (False, True)[: 1 + views.get("flip", False)]:
                with torch.no_grad():
                    scores = network(image.flip(-1) if flipped else image)
                scores = scores.flip(-1) if flipped else scores
                total += F.interpolate(scores, total.shape[1:], mode="bilinear").softmax(1)[0]
        prediction = total.argmax(0)
        with Image.open(tmp_path / f"{index}.png") as png:
            assert png.mode == "P"
            written = np.asarray(png)
        assert (prediction.numpy() == written).mean() > 0.999  # but for ties in the last bit
        mask = torch.from_numpy(store.mask(index).astype(np.int64))
        metric = metric.merge(MeanIou.of(torch.from_numpy(np.asarray(written, np.int64)), mask, classes=CLASSES))
    expected = metric.compute()
    assert [found[name] for name in ("score", "mean_iou", "pixel_accuracy", "pixels")] == [
        expected[name] for name in ("score", "mean_iou", "pixel_accuracy", "pixels")
    ]
    assert list(found["per_class"].values()) == expected["per_class"]
    assert found["images"] == 7 and list(found["per_class"]) == list(store.classes)


def test_images_of_any_size_are_tested(folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """One by one, where their sizes differ."""
    write_store(tmp_path / "s.lmdb", [striped(seed, 40 + seed, 50 + 3 * seed) for seed in range(5)])
    found = evaluate(EvaluateConfig(checkpoint=trained[0] / "last.pt", store=tmp_path / "s.lmdb"))
    assert found["pixels"] == sum((50 + 3 * seed - 3) * (40 + seed) for seed in range(5))


def test_the_training_evaluation_is_that_of_evaluate(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """The last line of a run is reproduced from its checkpoint; a picture changes nothing."""
    checkpoint, png = trained[0] / "last.pt", trained[0] / "p.png"
    config = EvaluateConfig(checkpoint=checkpoint, store=folder / "val.lmdb", precision="float32", picture=png)
    found = evaluate(config)
    assert found["score"] == pytest.approx(trained[1]["score"], abs=1e-6)
    assert found["picture"] == str(png) and png.stat().st_size > 10_000


@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_loss_is_the_mean_over_labelled_pixels(folder: Path, auxiliary: bool) -> None:
    """Against a loop in float64; ignored pixels change nothing, the auxiliary head adds 0.4 of its own."""
    job = parsing_job.ParsingJob(config_of(folder, network=dataclasses.replace(SMALL, auxiliary=auxiliary)), CPU)
    torch.manual_seed(0)
    model = job.network().train()
    loader = job.train_loader()
    batch = next(iter(loader))
    loader.close()
    assert (batch["mask"] == IGNORE).any()
    torch.manual_seed(1)  # dropout
    loss = job.loss(model, batch).item()
    torch.manual_seed(1)
    with torch.no_grad():
        scores = model(batch["image"])
    expected = 0.0
    for part, weight in zip(scores if auxiliary else (scores,), (1.0, 0.4), strict=False):
        logs = part.double().log_softmax(1).permute(0, 2, 3, 1)
        kept = batch["mask"] < CLASSES
        own = logs[kept].gather(1, batch["mask"][kept][:, None])
        expected += weight * -own.mean().item()
    assert loss == pytest.approx(expected, rel=1e-4)


def test_a_batch_without_a_labelled_pixel_has_a_loss_of_zero(folder: Path) -> None:
    """And gradients of zero, finite all: the run goes on."""
    job = parsing_job.ParsingJob(config_of(folder), CPU)
    model = job.network().train()
    batch = {"image": torch.randn(2, 3, 48, 64), "mask": torch.full((2, 48, 64), IGNORE)}
    loss = job.loss(model, batch)
    loss.backward()
    assert loss.item() == 0
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    assert gradients and all(bool((gradient == 0).all()) for gradient in gradients)


@pytest.mark.slow
def test_after_a_signal_a_run_ends_as_if_undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in mid-epoch and resumed: the same weights, averages and momenta, bit for bit."""
    exact: dict[str, Any] = {"deterministic": True, "ema": 0.9, "network": dataclasses.replace(SMALL, auxiliary=True)}
    whole, stopped = config_of(folder, "whole", **exact), config_of(folder, "stopped", **exact)
    assert state_difference(*whole_and_resumed(train, whole, stopped, 6, monkeypatch)) == ""
    with pytest.raises(InputError, match="has head mcn, and fcn is asked for"):
        train(dataclasses.replace(stopped, resume=True, network=dataclasses.replace(exact["network"], head="fcn")))


@pytest.mark.slow
def test_the_backbone_may_start_from_a_classifier(folder: Path) -> None:
    """Every weight of the backbone is that of the checkpoint; another network's is refused by name."""
    learnable_store(folder / "c.train.lmdb", 32)
    learnable_store(folder / "c.val.lmdb", 6)
    options = {"model": "resnet10t", "epochs": 1, "batch_size": 16}
    config = dataclasses.replace(
        tiny_config(folder, "classifier", **options),
        store=folder / "c.train.lmdb",
        val_store=folder / "c.val.lmdb",
    )
    path = Path(classifiers.train(config)["checkpoint"])
    theirs = checkpoint.load(path)["state_dict"]
    model = parsing_job.ParsingJob(config_of(folder, backbone_weights=path), CPU).network()
    mine = model.get_submodule("backbone").state_dict()
    assert mine and all(torch.equal(weight, theirs[name]) for name, weight in mine.items())
    other = config_of(folder, backbone_weights=path, network=dataclasses.replace(SMALL, backbone="resnet18"))
    with pytest.raises(InputError, match="is a checkpoint of resnet10t, and the backbone is resnet18"):
        parsing_job.ParsingJob(other, CPU).network()


def test_what_cannot_be_used_is_named_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    """Stores without masks of classes, other classes, windows too small, bad numbers; checkpoints of other tasks."""
    learnable_store(tmp_path / "images.lmdb", 29)
    make_parsing_store(tmp_path / "many.lmdb", 9)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"store": tmp_path / "images.lmdb"}, r"images\.lmdb has no masks of classes; build it with .* --format masks"),
        ({"batch_size": 33}, "fewer than the 33 of one step"),
        ({"network": dataclasses.replace(SMALL, backbone="no_such_net")}, "no_such_net"),
        ({"heatmaps": tmp_path / "none.lmdb"}, r"none\.lmdb"),
        ({"size": (1, 1), "batch_size": 1}, "cannot train on 1 x 1 pixels"),
    ]
    for options, sentence in wrong:
        config = config_of(folder, "refused", **options)
        with pytest.raises(InputError, match=sentence):
            train(config)
        assert not config.out.exists()
    for options, sentence in [
        ({"size": (0, 5)}, "size must be at least 1"),
        ({"class_balance": "inverse"}, "class_balance must be one of"),
        ({"auxiliary_weight": -1.0}, "auxiliary_weight must be at least 0"),
    ]:
        with pytest.raises(InputError, match=sentence):
            config_of(folder, **options)
    for scales, sentence in [((), "above 0, got none"), ((0.0,), "above 0, got 0"), ((1.0, 1.0), "must differ")]:
        with pytest.raises(InputError, match=sentence):
            EvaluateConfig(checkpoint=tmp_path, store=tmp_path, scales=scales)


def test_median_frequency_weighs_each_pixel_by_its_class(folder: Path) -> None:
    """The loss is the weighted mean, as torch has it over the labelled pixels alone."""
    job = parsing_job.ParsingJob(config_of(folder, class_balance="median_frequency"), CPU)
    weights, masks = job.class_weights, torch.from_numpy(np.stack([job.store.mask(i) for i in range(4)])).long()
    assert weights is not None and weights.shape == (CLASSES,) and (weights > 0).all()
    scores = torch.randn(4, CLASSES, *masks.shape[1:])
    kept = masks < CLASSES
    expected = F.cross_entropy(scores.permute(0, 2, 3, 1)[kept], masks[kept], weights)
    batch = {"image": scores, "mask": masks}
    assert job.loss(torch.nn.Identity(), batch).item() == pytest.approx(expected.item(), rel=1e-4)


def test_where_predictions_go_is_checked_before_anything_is_counted(
    folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is no folder; of two images that differ in their ending alone one would be lost."""
    monkeypatch.setattr("sdali.trainers.parsing.evaluation.count_pixels", None)
    (tmp_path / "file").write_text("mine")
    config = EvaluateConfig(checkpoint=trained[0] / "last.pt", store=folder / "val.lmdb", predictions=tmp_path / "file")
    with pytest.raises(InputError, match=r"cannot make the folder .*file \(File exists\)"):
        evaluate(config)
    assert (tmp_path / "file").read_text() == "mine"
    with StoreWriter(
        tmp_path / "twins.lmdb", classes=ImageStore(folder / "val.lmdb").classes, has_masks=True, ignore_index=IGNORE
    ) as writer:
        for name, (data, mask) in [("a/0.jpg", striped(0)), ("a/0.jpeg", striped(1))]:
            writer.add(data, label=-1, height=48, width=64, name=name, mask=encode_mask(mask))
    with pytest.raises(InputError, match=r"a/0\.jpg and a/0\.jpeg would both be written to .*a/0\.png"):
        evaluate(dataclasses.replace(config, store=tmp_path / "twins.lmdb", predictions=tmp_path / "new"))
    assert not (tmp_path / "new").exists()

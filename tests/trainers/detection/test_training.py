"""Training and testing detectors, whole: from stores to figures, and on after a signal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detecting import ALL_PARTS, SMALL, merged, read_coco_predictions
from detection_by_hand import by_hand
from detection_stores import squares, write_store
from resuming import state_difference, whole_and_resumed
from training import learnable_store, tiny_config

from sdali.pipelines import ImageStore, InputError, detection
from sdali.pipelines.config import Colour, DetectionAugmentation
from sdali.pipelines.store.boxes import none_found
from sdali.pipelines.store.statistics import Statistics
from sdali.trainers import classification as classifiers
from sdali.trainers.core import checkpoint
from sdali.trainers.core.networks import load_network
from sdali.trainers.core.process import Process
from sdali.trainers.detection import DetectionRules, EvaluateConfig, TrainConfig, evaluate, train
from sdali.trainers.detection import job as detection_job
from sdali.trainers.detection.evaluation import Records, figures, record_detections, truth_of
from sdali.trainers.metrics.coco_ap import coco_ap
from sdali.trainers.metrics.detections import DetectionRecord
from sdali.trainers.models.detection.network import DetectionConfig

CPU = Process(device=torch.device("cpu"))
FPN = dataclasses.replace(SMALL, neck="fpn", rpn=dataclasses.replace(SMALL.rpn, anchor_sizes=(16, 24, 32, 48, 64)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detection")
    write_store(folder / "train.lmdb", [squares(seed) for seed in range(32)], 2)
    write_store(folder / "val.lmdb", [squares(100 + seed) for seed in range(7)], 2)
    return folder


def config_of(folder: Path, out: str = "run", **options: Any) -> TrainConfig:
    """Small and short, over folder/train.lmdb."""
    colour = Colour(brightness=0, contrast=0, saturation=0, lighting=0)
    defaults: dict[str, Any] = {
        "network": SMALL, "shorter_side": (64,), "batch_size": 8, "epochs": 2, "threads": 1, "precision": "float32",
        "augmentation": DetectionAugmentation(colour=colour, interpolations=("linear",)), "optimizer": "adamw",
        "lr": 2e-3,
    }  # fmt: skip
    paths = {"store": folder / "train.lmdb", "val_store": folder / "val.lmdb", "out": folder / out}
    return TrainConfig(**{**defaults, **paths, **options})


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A run that has learnt what squares are."""
    config = config_of(folder, "trained", epochs=14, batch_size=4, lr=3e-3, schedule="cosine", evaluate_every=14)
    return config.out, train(config)


@pytest.mark.slow
def test_a_run_learns(trained: tuple[Path, dict[str, Any]]) -> None:
    """Most squares are found, from random weights; every loss is in the log, and falls."""
    out, result = trained
    assert result["ap50"] > 0.5 and result["best_ap50"] >= result["ap50"] and result["steps"] == 112
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["event"] == "train"]
    for name in ("rpn_objectness", "rpn_box", "classification", "box"):
        assert steps[0][f"loss_{name}"] > steps[-1][f"loss_{name}"] > 0
    parts = sum(value for name, value in steps[0].items() if name.startswith("loss_"))
    assert steps[0]["loss"] == pytest.approx(parts, rel=1e-5)


def test_the_training_evaluation_is_that_of_evaluate(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """The last line of a run is reproduced from its checkpoint; a picture is drawn, and all of it is JSON."""
    png = trained[0] / "p.png"
    path = trained[0] / "last.pt"
    config = EvaluateConfig(checkpoint=(path,), store=folder / "val.lmdb", precision="float32", picture=png)
    found = evaluate(config)
    assert found["ap50"] == pytest.approx(trained[1]["ap50"], abs=1e-9)
    assert found["picture"] == str(png) and png.stat().st_size > 10_000
    assert json.loads(json.dumps(found)) == found
    assert (found["scales"], found["longer_sides"], found["score_threshold"], found["images"]) == (
        [64],
        [1000],
        0.01,
        7,
    )
    assert np.mean([one["ap50"] for one in found["per_class"].values()]) == pytest.approx(found["ap50"])
    objects = ImageStore(folder / "val.lmdb").objects()
    assert sum(one["objects"] for one in found["per_class"].values()) == len(objects.labels)


@pytest.mark.slow
@pytest.mark.parametrize("views", [{}, {"scales": (64, 96), "flip": True}])
def test_evaluate_equals_a_loop_by_hand(
    folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path, views: dict[str, Any]
) -> None:
    """Networks, scales and mirror images one by one: proposals of all in one NMS, each scored by all, means, NMS."""
    paths = (trained[0] / "last.pt", trained[0] / "best.pt") if views else (trained[0] / "last.pt",)
    rules, val = DetectionRules(score_threshold=0.05, nms=0.4, proposals=25, detections=9), folder / "val.lmdb"
    file = tmp_path / "found.json"
    result = evaluate(
        EvaluateConfig(checkpoint=paths, store=val, precision="float32", rules=rules, predictions=file, **views)
    )
    store, models = ImageStore(val), [load_network(path, "cpu").module for path in paths]
    found = read_coco_predictions(file, store)
    loaders = [detection.test_loader(store, shorter_side=side, device="cpu") for side in views.get("scales", (64,))]
    for image, batches in enumerate(zip(*loaders, strict=True)):
        expected = by_hand(models, batches, views.get("flip", False))
        torch.testing.assert_close(found[image].scores, expected[1], atol=1e-4, rtol=0)
        torch.testing.assert_close(found[image].boxes, expected[0], atol=0.01, rtol=0)
        assert torch.equal(found[image].classes, expected[2])
    record = DetectionRecord.of(range(7), found, [truth_of(store, image) for image in range(7)])
    assert coco_ap(record, 2)["ap"] == pytest.approx(result["ap"])


def test_two_ranks_find_what_one_does(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """Their shares of 7 images, the last batch of the second empty, make the record of one rank, and its figures."""
    loaded = load_network(trained[0] / "last.pt", "cpu")
    model, saved = loaded.module, loaded.contents
    store, rules = ImageStore(folder / "val.lmdb"), DetectionRules()

    def records(rank: int, world_size: int) -> tuple[DetectionRecord, DetectionRecord]:
        statistics = Statistics.from_dict(saved["statistics"])
        share = {"rank": rank, "world_size": world_size, "statistics": statistics, "device": "cpu", "threads": 1}
        loader = detection.test_loader(store, shorter_side=64, **share)  # type: ignore[arg-type]
        batches = ([batch] for batch in loader)
        found = record_detections([model], batches, store=store, rules=rules, process=CPU)
        loader.close()
        return found

    first, second = records(0, 2), records(1, 2)
    assert (len(first[0].images), len(second[0].images)) == (4, 3)
    both = Records(*(merged(*parts) for parts in zip(first, second, strict=True)))
    result = figures(both, store.classes, rules)
    assert result == figures(Records(*records(0, 1)), store.classes, rules)
    assert result["ap50"] == pytest.approx(trained[1]["ap50"], abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("network", [SMALL, ALL_PARTS, FPN], ids=["base", "all parts", "fpn"])
def test_batches_of_any_objects_have_finite_losses(folder: Path, tmp_path: Path, network: DetectionConfig) -> None:
    """Without one object, with difficult ones alone, which is the same, and with 300 in an image; gradients too."""
    job = detection_job.DetectionJob(config_of(folder, network=network), CPU)
    torch.manual_seed(0)
    model = job.network().train()
    corner = torch.rand(300, 2) * 50
    many = torch.cat([corner, corner + 2 + torch.rand(300, 2) * 10], 1)
    cases = {"none": (many[:0], False), "difficult": (many, True), "many": (many, False)}
    losses = {}
    for name, (boxes, difficult) in cases.items():
        batch = {
            "image": torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1)),
            "size": torch.tensor([[64, 96], [64, 80]]), "boxes": [boxes] * 2,
            "labels": [torch.arange(len(boxes)) % 2] * 2, "difficult": [torch.full((len(boxes),), difficult)] * 2,
        }  # fmt: skip
        torch.manual_seed(2)
        losses[name] = job.loss(model, batch)
        total = torch.stack(list(losses[name].values())).sum()
        model.zero_grad()
        total.backward()
        assert total.isfinite() and total > 0
        gradients = [weight.grad for weight in model.parameters()]  # none is missing, which DDP would wait for
        assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert losses["none"]["box"] == losses["difficult"]["box"] == 0 < losses["many"]["box"]


@pytest.mark.slow
def test_one_class_negatives_and_every_part_train_to_the_end(tmp_path: Path) -> None:
    """One class, images without objects among them, scales of each sample, every order, warm-up, average and steps."""
    samples = [squares(seed) for seed in range(8)]
    samples = [(data, hw, boxes._replace(labels=boxes.labels * 0)) for data, hw, boxes in samples]
    samples += [(data, hw, none_found()) for data, hw, _ in samples[:4]]
    for name in ("train", "val"):
        write_store(tmp_path / f"{name}.lmdb", samples, 1)
    for order, steps in {"class_balanced": 3, "repeat_factor": 3, "label_shuffle": 2}.items():
        result = train(
            config_of(
                tmp_path, order, network=ALL_PARTS, order=order, shorter_side=(64, 80), side_per="sample", epochs=1,
                batch_size=4, ema=0.5, schedule="step",
            )
        )  # fmt: skip
        assert 0 <= result["ap50"] <= 1 and result["steps"] == steps


@pytest.mark.slow
def test_after_a_signal_a_run_ends_as_if_undisturbed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in mid-epoch and resumed: the same weights, averages and momenta, bit for bit."""
    exact: dict[str, Any] = {"deterministic": True, "ema": 0.9, "network": ALL_PARTS, "shorter_side": (64, 80)}
    whole, stopped = config_of(folder, "whole", **exact), config_of(folder, "stopped", **exact)
    assert state_difference(*whole_and_resumed(train, whole, stopped, 6, monkeypatch)) == ""
    with pytest.raises(InputError, match="has ohem True, and False is asked for"):
        train(dataclasses.replace(stopped, resume=True, network=dataclasses.replace(ALL_PARTS, ohem=False)))


@pytest.mark.slow
def test_a_detector_may_start_from_a_classifier_or_another_detector(
    folder: Path, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Backbone and pretrained context are the classifier's; of a detector of other classes all but the last layers
    are taken; what has another backbone is refused by name.
    """
    learnable_store(tmp_path / "train.lmdb", 32)
    learnable_store(tmp_path / "val.lmdb", 6)
    path = Path(classifiers.train(tiny_config(tmp_path, "classifier", model="resnet10t", epochs=1))["checkpoint"])
    theirs = checkpoint.load(path)["state_dict"]
    context = dataclasses.replace(SMALL, global_context="pretrained", frozen_norm=True)
    model: Any = detection_job.DetectionJob(config_of(folder, start_from=path, network=context), CPU).network()
    mine = model.backbone.network.state_dict()
    assert mine and all(torch.equal(weight, theirs[name]) for name, weight in mine.items())
    copied = model.context.conv5.state_dict()
    assert copied and all(torch.equal(weight, theirs[f"layer4.{name}"]) for name, weight in copied.items())

    one = [(data, hw, boxes._replace(labels=boxes.labels * 0)) for data, hw, boxes in map(squares, range(8))]
    for name in ("train", "val"):
        write_store(tmp_path / f"one.{name}.lmdb", one, 1)
    stores: dict[str, Any] = {"store": tmp_path / "one.train.lmdb", "val_store": tmp_path / "one.val.lmdb"}
    config = config_of(folder, start_from=trained[0] / "best.pt", **stores)
    found = detection_job.DetectionJob(config, CPU).network().state_dict()
    saved = checkpoint.load(trained[0] / "best.pt")["state_dict"]
    other = (
        {name for name in found if not torch.equal(found[name], saved[name])} if found.keys() == saved.keys() else {}
    )
    assert other == {"classifier.weight", "classifier.bias", "regressor.weight", "regressor.bias"}

    wrong = config_of(folder, start_from=path, network=dataclasses.replace(SMALL, backbone="resnet18"))
    with pytest.raises(InputError, match="is a checkpoint of resnet10t, and the backbone is resnet18"):
        detection_job.DetectionJob(wrong, CPU).network()


def test_what_cannot_be_used_is_named_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    """Stores without objects, other classes, bad numbers, parts that need trained weights."""
    learnable_store(tmp_path / "images.lmdb", 6)
    write_store(tmp_path / "hard.lmdb", [squares(seed, difficult=True) for seed in range(8)], 2)
    write_store(tmp_path / "more.lmdb", [squares(seed) for seed in range(8)], 3)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"store": tmp_path / "images.lmdb"}, r"images\.lmdb has no boxes; build it with .* --format voc"),
        ({"val_store": tmp_path / "hard.lmdb"}, r"hard\.lmdb has no object that is to be found"),
        ({"val_store": tmp_path / "more.lmdb"}, "it adds class 2"),
        ({"batch_size": 33}, "fewer than the 33 of one step"),
        (
            {"network": dataclasses.replace(SMALL, backbone="vgg16")},
            "the backbone of a detector must be a ResNet, got vgg16",
        ),
        ({"network": dataclasses.replace(SMALL, frozen_norm=True)}, "frozen_norm .* give start_from too"),
        ({"network": dataclasses.replace(SMALL, global_context="pretrained")}, "needs start_from"),
        ({"start_from": tmp_path / "none.pt"}, r"there is no checkpoint .*none\.pt"),
    ]
    for options, sentence in wrong:
        config = config_of(folder, "refused", **options)
        with pytest.raises(InputError, match=sentence):
            train(config)
        assert not config.out.exists()
    for options, sentence in [
        ({"shorter_side": ()}, "shorter_side must be one side or several, got none"),
        ({"shorter_side": (64, 32)}, "shorter_side must be at least 64 px, got 32"),
        ({"shorter_side": (64, 64)}, "shorter_side must differ, got 64, 64"),
        ({"longer_side": 0}, "longer_side must be at least 64 px"),
        ({"order": "class_aware"}, "order must be one of"),
    ]:
        with pytest.raises(InputError, match=sentence):
            config_of(folder, **options)
    for rules, sentence in [
        ({"score_threshold": 1.0}, "score_threshold must be at least 0 and below 1"),
        ({"voting": 0.0}, "voting must be above 0"),
        ({"detections": 0}, "detections must be at least 1"),
    ]:
        with pytest.raises(InputError, match=sentence):
            DetectionRules(**rules)
    with pytest.raises(InputError, match="checkpoint must be one file or several"):
        EvaluateConfig(checkpoint=(), store=tmp_path)
    with pytest.raises(InputError, match="scales must differ"):
        EvaluateConfig(checkpoint=(tmp_path,), store=tmp_path, scales=(64, 64))

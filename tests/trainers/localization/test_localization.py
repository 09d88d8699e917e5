"""Object localization as a whole: known networks with known errors, loops by hand, and files read back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from commands import refusal_of, report_of
from localizing import CLASSES, LEVELS, save_classifier, save_detector, write
from torch import Tensor

from sdali.cams.activation import class_activation_maps
from sdali.pipelines import InputError, classification, detection
from sdali.pipelines.store.statistics import IMAGENET
from sdali.trainers.core import evaluation as core_evaluation
from sdali.trainers.core.networks import LoadedNetwork, load_network
from sdali.trainers.detection.fusion import Scored, fused_proposals
from sdali.trainers.localization import EvaluateConfig, TrainConfig, evaluate, train
from sdali.trainers.localization.methods import cam_box
from sdali.trainers.localization.pictures import verdict
from sdali.trainers.localization.predictions import Predictions, inclusive_pixels, read_predictions
from sdali.trainers.localization.rule import localized
from sdali.trainers.models.detection.detector import Detector, Regions


class Thresholds(Detector):
    """Finds the square by its level, without an error: what the others say is then their own."""

    def features(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(part).view(3, 1, 1) for part in (IMAGENET.mean, IMAGENET.std))
        return ((images * std + mean) * 255)[:, 0]

    def proposals(self, features: Tensor, sizes: Tensor) -> list[tuple[Tensor, Tensor]]:
        found = []
        for levels, (height, width) in zip(features, sizes.tolist(), strict=True):
            y, x = torch.where((levels[:height, :width] - 110).abs() > 40)
            box = torch.tensor([x.min(), y.min(), x.max() + 1, y.max() + 1]).float()
            found.append((torch.stack([box, torch.tensor([0.0, 0, 9, 9])]), torch.tensor([0.9, 0.5])))
        return found

    def classify(self, features: Tensor, proposals: list[Tensor], sizes: Tensor) -> list[Regions]:
        said = []
        for levels, boxes in zip(features, proposals, strict=True):
            scores = torch.full((len(boxes), 4), 0.01)
            for row, (left, top, right, bottom) in enumerate(boxes.round().long().tolist()):
                level = levels[top + 4 : bottom - 4, left + 4 : right - 4].mean()
                if abs(float(level) - 110) > 30:  # something is there, perhaps another class
                    scores[row, :3] = 0.05
                    scores[row, (torch.tensor(LEVELS) - level).abs().argmin()] = 0.85
            said.append(Regions(scores, boxes[:, None].expand(-1, 3, -1)))
        return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("localization")
    write(folder / "s.lmdb", 9)
    for name in ("a", "b"):
        save_classifier(folder / f"{name}.pt", ord(name))
    save_detector(folder / "d.pt")
    return folder


def load_thresholds(path: Path, device: torch.device, *, task: str) -> LoadedNetwork:
    """Classifiers as they are, and Thresholds in place of any detector."""
    loaded = load_network(path, device, task=task)
    return dataclasses.replace(loaded, module=Thresholds().eval()) if task == "detection" else loaded


def config_of(folder: Path, **options: Any) -> EvaluateConfig:
    paths: dict[str, Any] = {"classifier": (folder / "a.pt",), "detector": (folder / "d.pt",)}
    return EvaluateConfig(store=folder / "s.lmdb", **{**paths, "precision": "float32", "threads": 1, **options})


def softmax_of(folder: Path, names: str) -> np.ndarray:
    """float64 [N, 3]: the mean of what the classifiers say of the whole images, in a loop."""
    total = np.zeros((9, 3))
    for name in names:
        torch.manual_seed(ord(name))
        model = save_classifier(folder / "again.pt", ord(name))
        loader = classification.test_loader(
            folder / "s.lmdb", batch_size=9, size=32, crop="whole", statistics=IMAGENET, threads=1, device="cpu"
        )
        with torch.no_grad():
            (batch,) = loader
            total += model(batch["image"]).softmax(1).double().numpy()
    return total / len(names)


def test_a_detector_that_never_errs(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """Its boxes are right, so all that is left is the classifier's error; the whole image holds too much; the file of
    answers gives the same figures again.
    """
    monkeypatch.setattr(core_evaluation, "load_network", load_thresholds)
    written = {"answers": tmp_path / "a.txt", "picture": tmp_path / "a.png"}
    result = evaluate(config_of(folder, flip=True, scales=(64, 128), **written))
    wrong = float((softmax_of(folder, "a").argmax(1) != np.arange(9) % 3).mean())
    assert 0 < wrong < 1, "else this test says little"
    assert result["error"] == result["label_wrong"] == result["classification_error"] == pytest.approx(wrong)
    assert result["box_wrong"] == result["both_wrong"] == 0 and result["top"] == 1 and result["images"] == 9
    baselines = result["baselines"]
    assert baselines["perfect_classifier"]["error"] == baselines["detector_alone"]["error"] == 0
    assert baselines["whole_image"]["error"] == 1 and baselines["whole_image"]["both_wrong"] == pytest.approx(wrong)
    assert baselines["cam_box"]["classification_error"] == pytest.approx(wrong)
    assert len(read_predictions(written["answers"], images=9, classes=3)) == 9
    assert cv2.imread(str(written["picture"])) is not None
    again = evaluate(EvaluateConfig(store=folder / "s.lmdb", read=written["answers"]))
    figures = ("error", "box_wrong", "label_wrong", "both_wrong", "classification_error", "per_class")
    assert [again[name] for name in figures] == [result[name] for name in figures]
    json.dumps(result)


@pytest.mark.slow
@pytest.mark.parametrize("top", [1, 2])
def test_answers_are_those_of_a_loop(folder: Path, tmp_path: Path, top: int) -> None:
    """Two classifiers averaged, one detector of random weights at one scale, image by image."""
    path = tmp_path / "a.txt"
    both = (folder / "a.pt", folder / "b.pt")
    evaluate(config_of(folder, classifier=both, top=top, answers=path, batch_size=4))
    likely = np.argsort(-softmax_of(folder, "ab"), 1)[:, :top]
    model = save_detector(tmp_path / "d.pt")
    loader = detection.test_loader(
        folder / "s.lmdb", shorter_side=64, longer_side=100, statistics=IMAGENET, threads=1, device="cpu"
    )
    for batch, own, labels in zip(loader, read_predictions(path, images=9, classes=3), likely, strict=True):
        with torch.no_grad():
            features = model.features(batch["image"])
            proposals, scores = fused_proposals(model.proposals(features, batch["size"]))
            (regions,) = model.classify(features, [proposals], batch["size"])
        expected = localized(torch.from_numpy(labels), Scored(proposals, scores, *regions), (64, 80))
        assert own.labels.tolist() == labels.tolist()
        assert np.abs(own.boxes - expected.boxes).max() <= 1  # a last bit may move a rounding


def test_the_baseline_of_activation_maps_by_hand(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """The first classifier's maps of the answered classes, over the whole image, boxed."""
    from sdali.trainers.localization import evaluation as localization_test

    kept: dict[str, list[Predictions]] = {}
    methods = localization_test.Localization.methods
    monkeypatch.setattr(
        localization_test.Localization, "methods", lambda own, track: kept.update(methods(own, track)) or kept
    )
    evaluate(config_of(folder, top=2))
    likely = np.argsort(-softmax_of(folder, "a"), 1)[:, :2]
    model = save_classifier(tmp_path / "a.pt", ord("a"))
    (batch,) = classification.test_loader(
        folder / "s.lmdb", batch_size=9, size=32, crop="whole", statistics=IMAGENET, threads=1, device="cpu"
    )
    for place in (0, 1):
        maps = class_activation_maps(model, batch["image"], torch.from_numpy(likely[:, place].copy()))
        for image, heatmap in enumerate(maps.numpy()):
            box = inclusive_pixels(cam_box(heatmap, 64, 80)[None], 64, 80)[0]
            assert kept["cam_box"][image].boxes[place].tolist() == box.tolist()
            assert kept["cam_box"][image].labels.tolist() == likely[image].tolist()


def test_verdicts_by_hand() -> None:
    """And which answer shows them."""
    boxes = np.array([[1.0, 1, 10, 10], [21, 21, 30, 30]])
    right, half, wrong = [1.0, 1, 10, 10], [21.0, 21, 30, 24], [50.0, 50, 60, 60]

    def said(labels: list[int], *edges: list[float]) -> tuple[str, int, float]:
        return tuple(verdict(Predictions(np.array(labels), np.array(edges)), 4, boxes))  # type: ignore[return-value]

    assert said([3, 4], wrong, right) == ("right", 1, 1.0)
    assert said([4, 4, 3], wrong, half, right) == ("box wrong", 1, pytest.approx(0.4))
    assert said([3, 2], half, right) == ("label wrong", 1, 1.0)
    assert said([3, 2], wrong, half) == ("both wrong", 1, pytest.approx(0.4))


def test_the_command_prints_what_the_function_returns(folder: Path, tmp_path: Path, capsys) -> None:
    words = ("--classifier", folder / "a.pt", folder / "b.pt", "--detector", folder / "d.pt", "--voting", "None")
    options = ("--answers", tmp_path / "a.txt", "--classifier-crops", "2", "--threads", "1")
    result = report_of(capsys, "evaluate", "localization", "--store", folder / "s.lmdb", *words, *options)
    assert result["classifiers"] == [str(folder / "a.pt"), str(folder / "b.pt")] and result["voting"] is None
    assert result["scales"] == [64] and result["classifier_crops"] == 2 and set(result["per_class"]) == set(CLASSES)
    read = report_of(capsys, "evaluate", "localization", "--store", folder / "s.lmdb", "--read", tmp_path / "a.txt")
    assert read["error"] == result["error"] and "baselines" not in read


def test_what_cannot_be_used_is_one_sentence(folder: Path, tmp_path: Path, capsys) -> None:
    """Too few classes for so many answers, images without truth, answers to other images, networks of other classes."""

    def refused(*words: object, store: Path = folder / "s.lmdb") -> str:
        return refusal_of(capsys, "evaluate", "localization", "--store", store, *words)

    both = ("--classifier", folder / "a.pt", "--detector", folder / "d.pt")
    assert "top 3 of the 3 classes" in refused(*both, "--top", "3")
    assert "top must be at most 5" in refused(*both, "--top", "6")
    assert "needs a classifier and a detector, or read" in refused("--classifier", folder / "a.pt")
    assert "read takes the place of" in refused(*both, "--read", "a.txt")
    assert "is a checkpoint of classification, not of detection" in refused(*both[:2], "--detector", folder / "a.pt")
    write(tmp_path / "boxless.lmdb", 9, boxless=4)
    said = refused(*both, store=tmp_path / "boxless.lmdb")
    assert "1 of the 9 images of" in said and "have no box of their class, the first is 4.jpg" in said
    write(tmp_path / "other.lmdb", 9, classes=("dark", "bright", "grey"))
    assert "it lacks white and it adds grey" in refused(*both, store=tmp_path / "other.lmdb")
    path = tmp_path / "a.txt"
    path.write_text("1 1 1 9 9\n" * 8)
    assert "has 8 lines for 9 images" in refused("--read", path)
    path.write_text("1 1 1 9 9\n" * 8 + "2 300 1 400 9\n")
    assert "line 9 of" in (said := refused("--read", path)) and "begins at 300, 1, and 8.jpg is 80 x 64 px" in said
    assert "cannot write" in refused(*both, "--answers", tmp_path / "none" / "a.txt")


def test_training_needs_a_box_in_every_image(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "boxless.lmdb", 9, boxless=2)
    paths: dict[str, Any] = {"val_store": folder / "s.lmdb", "out": tmp_path / "run"}
    with pytest.raises(InputError, match=r"have no box of their class, the first is 2\.jpg"):
        train(TrainConfig(store=tmp_path / "boxless.lmdb", **paths))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_trained_detector_localizes(folder: Path, tmp_path: Path, capsys) -> None:
    """One epoch; its checkpoint is what evaluation takes, and it starts from a detector's."""
    words = (
        *("--store", folder / "s.lmdb", "--val-store", folder / "s.lmdb", "--out", tmp_path / "run", "--epochs", "1"),
        *("--shorter-side", "64", "--longer-side", "100", "--batch-size", "3", "--threads", "1", "--backbone"),
        *("resnet10t", "--roi-size", "4", "--rpn.anchor-sizes", "24", "--rpn.anchor-ratios", "1", "--rpn.width", "32"),
        *("--start-from", folder / "d.pt", "--precision", "float32"),
    )
    assert report_of(capsys, "train", "localization", *words)["steps"] == 3
    result = evaluate(config_of(folder, detector=(tmp_path / "run" / "last.pt", folder / "d.pt")))
    assert 0 <= result["error"] <= 1 and len(result["detectors"]) == 2

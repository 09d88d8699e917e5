"""Training and evaluating from stores to numbers: it learns, what it reports is so, what it refuses it names."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training import CLASSES, TinyAuxiliaryNet, learnable_store, tiny_config

from sdali.pipelines import ImageStore, InputError, classification
from sdali.pipelines.io.progress import track
from sdali.pipelines.loader.soft_labels import SoftLabels, load_confusion, save_confusion
from sdali.pipelines.store import measure, statistics
from sdali.trainers.classification import EvaluateConfig, evaluate, train
from sdali.trainers.classification import job as classification_job
from sdali.trainers.classification.config import ConfusionConfig
from sdali.trainers.classification.confusion import confusion
from sdali.trainers.core import checkpoint
from sdali.trainers.core.networks import load_network
from sdali.trainers.core.optimizer import make_optimizer
from sdali.trainers.core.process import Process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    learnable_store(folder / "train.lmdb", 100)
    learnable_store(folder / "val.lmdb", 29)
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A convnet4 trained for eight epochs, and what train returned."""
    config = tiny_config(folder, "trained", model="convnet4", epochs=8, lr=0.05, ema=0.8)
    return config.out, train(config)


@pytest.mark.slow
def test_it_learns_and_reports(trained: tuple[Path, dict[str, Any]]) -> None:
    """Far above chance on held-out images; costs are positive and consistent; all of it is JSON."""
    out, result = trained
    assert result["top1"] > 0.9
    assert result["best_top1"] >= result["top1"]
    assert (result["epochs"], result["steps"]) == (8, 48)
    assert 0 < 48 * 16 / result["images_per_second"] < result["wall_seconds"]
    assert 0 <= result["data_wait_share"] < 1
    assert result["cpu_seconds"] > 0
    assert json.loads(json.dumps(result)) == result
    assert {Path(result[name]).parent for name in ("checkpoint", "best_checkpoint", "log")} == {out}


def test_evaluate_repeats_the_trainings_evaluation(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """The same images, network, statistics and crop give the same top-1, and a table of classes that averages to it."""
    found = evaluate(EvaluateConfig(checkpoint=trained[0] / "last.pt", store=folder / "val.lmdb"), progress=track)
    assert found["top1"] == trained[1]["top1"]
    assert "top5" not in found
    counts = np.bincount(ImageStore(folder / "val.lmdb").labels)
    assert list(found["per_class"]) == list(CLASSES)
    assert np.dot(list(found["per_class"].values()), counts) / 29 == pytest.approx(found["top1"])
    assert (found["images"], found["scales"], found["crop"]) == (29, [32], "centre")
    assert found["images_per_second"] > 0


def test_evaluate_equals_a_loop_by_hand(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """Whole images at another size: load_classifier, a loader and argmax say the same."""
    loaded = load_network(trained[0] / "best.pt", "cpu")
    model, saved = loaded.module, loaded.contents
    stats = statistics.Statistics.from_dict(saved["statistics"])
    loader = classification.test_loader(folder / "val.lmdb", batch_size=29, size=48, crop="whole", statistics=stats)
    (batch,) = loader
    loader.close()
    with torch.no_grad():
        top1 = (model(batch["image"]).argmax(1) == batch["label"]).double().mean().item()
    config = EvaluateConfig(
        checkpoint=trained[0] / "best.pt", store=folder / "val.lmdb", size=48, crop="whole", batch_size=7,
        precision="float32",
    )  # fmt: skip
    assert evaluate(config)["top1"] == pytest.approx(top1)


@pytest.mark.slow
def test_the_stores_own_statistics_are_used_and_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without `sdali stats` ImageNet's are used and a line says so; with it the store's, in the checkpoint too."""
    train(tiny_config(folder, "imagenet", epochs=1))
    assert capsys.readouterr().err.count("has no statistics of its own") == 1
    learnable_store(folder / "measured.lmdb", 48)
    with ImageStore(folder / "measured.lmdb") as store:
        own = measure.measure(store)
        measure.save(store, own)
    config = dataclasses.replace(tiny_config(folder, "own", epochs=1), store=folder / "measured.lmdb")
    train(config)
    assert "statistics" not in capsys.readouterr().err
    assert checkpoint.load(config.out / "last.pt")["statistics"] == own.to_dict()


@pytest.mark.slow
def test_two_runs_agree_bit_for_bit(folder: Path) -> None:
    """The same configuration gives the same weights; another seed gives others."""
    weights = []
    for out, seed in (("a", 3), ("b", 3), ("c", 4)):
        config = tiny_config(folder, out, epochs=1, seed=seed, deterministic=True)
        train(config)
        weights.append(checkpoint.weights_digest(checkpoint.load(config.out / "last.pt")["state_dict"]))
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.slow
def test_epoch_length_and_sizes_reach_the_loader(folder: Path) -> None:
    """Epochs of 32 images are 2 steps of 16; a run with several sizes trains, is resumed, and is tested at one size."""
    config = tiny_config(folder, "lengths", epochs=3, epoch_length=32, sizes=(24, 32), plain_epochs=1)
    result = train(dataclasses.replace(config, epochs=2))
    assert result["steps"] == 4
    result = train(dataclasses.replace(config, resume=True))
    assert result["steps"] == 6
    saved = checkpoint.load(config.out / "last.pt")
    assert saved["loader"]["order"] == "shuffle in epochs of 32" and saved["config"]["sizes"] == (24, 32)
    assert evaluate(EvaluateConfig(checkpoint=config.out / "last.pt", store=config.val_store))["scales"] == [32]


def test_decay_is_for_weights_only_and_the_order_is_fixed() -> None:
    """Norms and biases have none; with a decay of 0 the parameters keep their groups, so momenta keep theirs."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    groups = {}
    for decay in (0.3, 0.0):
        config = tiny_config(Path(), weight_decay=decay)
        groups[decay] = make_optimizer(model, config).param_groups
    shapes = {decay: [[tuple(p.shape) for p in group["params"]] for group in groups[decay]] for decay in groups}
    assert shapes[0.3] == shapes[0.0] == [[(4,), (4,), (4,)], [(4, 3, 1, 1)]]
    assert [group["weight_decay"] for group in groups[0.3]] == [0, 0.3]
    assert [group["weight_decay"] for group in groups[0.0]] == [0, 0]


def test_what_cannot_be_trained_on_is_named_before_anything_is_written(folder: Path) -> None:
    """Unequal classes, a missing store, too large a batch, an unknown model: one sentence, no folder."""
    learnable_store(folder / "other.lmdb", 29, classes=("dark", "bright", "dotted"))
    wrong: list[tuple[dict[str, Any], str]] = [
        (
            {"val_store": folder / "other.lmdb"},
            r"other\.lmdb does not have the classes of .*train\.lmdb: it lacks striped",
        ),
        ({"store": folder / "none.lmdb"}, r"none\.lmdb"),
        ({"batch_size": 101}, "fewer than the 101 of one step"),
        ({"model": "no_such_net"}, "no_such_net"),
        ({"model": "resnet10t", "model_args": ("breadth=2",)}, "timm cannot make resnet10t with breadth=2"),
        ({"model": "vit_tiny_patch16_224"}, "vit_tiny_patch16_224 does not take 32 x 32 pixels"),
        ({"device": "tpu"}, "device must be"),
    ]
    for options, sentence in wrong:
        config = dataclasses.replace(tiny_config(folder, "refused"), **options)
        with pytest.raises(InputError, match=sentence):
            train(config)
        assert not config.out.exists()


def test_a_checkpoint_of_other_classes_is_refused(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """Evaluating on a store with another class names the difference."""
    learnable_store(folder / "renamed.lmdb", 9, classes=("dark", "bright", "dotted"))
    with pytest.raises(InputError, match=r"renamed\.lmdb .* of .*best\.pt: it lacks striped and it adds dotted"):
        evaluate(EvaluateConfig(checkpoint=trained[0] / "best.pt", store=folder / "renamed.lmdb"))


@pytest.mark.slow
def test_settings_of_the_caller_are_untouched(folder: Path) -> None:
    """Random state, threads and determinism are as before."""
    before = torch.get_rng_state(), torch.get_num_threads()
    train(tiny_config(folder, "untouched", epochs=1, deterministic=True))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert torch.get_num_threads() == before[1]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_confusion_is_the_mean_softmax_and_trains_softer(folder: Path, trained: tuple[Path, dict[str, Any]]) -> None:
    """The file holds each true class's mean softmax, counted by hand here; training with it follows its targets."""
    out = folder / "confusion.h5"
    seen = ConfusionConfig(checkpoint=trained[0] / "last.pt", store=folder / "train.lmdb", out=out)
    with pytest.raises(InputError, match=r"last\.pt was trained on the images of .*train\.lmdb.*; measure on others"):
        confusion(seen)
    config = ConfusionConfig(checkpoint=trained[0] / "last.pt", store=folder / "val.lmdb", out=out)
    result = confusion(config)
    assert result["top1"] == pytest.approx(trained[1]["top1"]) and result["images"] == 29
    loaded = load_network(trained[0] / "last.pt", "cpu")
    model, saved = loaded.module, loaded.contents
    sums = np.zeros((3, 3))
    counts = np.zeros(3)
    loader = classification.test_loader(
        folder / "val.lmdb", batch_size=7, size=32, device="cpu",
        statistics=statistics.Statistics.from_dict(saved["statistics"]),
    )  # fmt: skip
    for batch in loader:
        with torch.inference_mode():
            softmax = model(batch["image"]).softmax(1).numpy()
        np.add.at(sums, batch["label"].numpy(), softmax)
        np.add.at(counts, batch["label"].numpy(), 1)
    matrix, classes = load_confusion(out)
    np.testing.assert_allclose(matrix, sums / counts[:, None], atol=0.01)  # bfloat16 where the CPU has it
    assert classes == CLASSES
    with pytest.raises(InputError, match=r"exists already; .* pass overwrite=True"):
        confusion(config)

    soft = tiny_config(folder, "soft", epochs=1, order="label_shuffle", soft_labels=out, soft=SoftLabels(eps=0.3))
    assert train(soft)["steps"] > 0
    targets = SoftLabels(eps=0.3).targets(matrix)
    batch = next(iter(classification.train_loader(folder / "train.lmdb", batch_size=9, size=32, targets=targets)))
    np.testing.assert_array_equal(batch["target"], targets[batch["label"].numpy()])
    with pytest.raises(InputError, match="has order label_shuffle, and shuffle is asked for"):
        train(dataclasses.replace(soft, order="shuffle", resume=True))
    with pytest.raises(InputError, match="has soft labels yes, and no is asked for"):
        train(dataclasses.replace(soft, soft_labels=None, soft=SoftLabels(), resume=True))


def auxiliary_job(folder: Path, **options: Any) -> classification_job.ClassificationJob:
    config = tiny_config(folder, "auxiliary", model="tiny_auxiliary_net", precision="float32", **options)
    return classification_job.ClassificationJob(config, Process(device=torch.device("cpu")))


def test_an_auxiliary_head_adds_its_own_loss(folder: Path) -> None:
    """Main + 0.4 * auxiliary, worked out in float64 from smoothed targets; one head has its own loss alone."""
    job = auxiliary_job(folder, label_smoothing=0.3)
    batch = {"image": torch.randn(4, 3, 32, 32), "label": torch.tensor([0, 1, 2, 1])}
    model = TinyAuxiliaryNet(3).train()
    model.dropout.p = 0.0
    targets = 0.7 * torch.eye(3, dtype=torch.float64)[batch["label"]] + 0.1
    with torch.no_grad():
        losses = [-(targets * scores.double().log_softmax(1)).sum(1).mean() for scores in model(batch["image"])]
        assert job.loss(model, batch).item() == pytest.approx(float(losses[0] + 0.4 * losses[1]))
        alone = job.loss(model.eval(), batch)
    scores = model(batch["image"]).detach().double().log_softmax(1)
    assert alone.item() == pytest.approx(float(-(targets * scores).sum(1).mean()))


def test_an_auxiliary_head_trains_in_ddp(folder: Path, tmp_path: Path) -> None:
    """Every weight gets a gradient in each step, which is what DDP asks for; without the auxiliary loss DDP raises."""
    job = auxiliary_job(folder)
    batch = {"image": torch.randn(4, 3, 32, 32), "label": torch.tensor([0, 1, 2, 1])}
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        trained = torch.nn.parallel.DistributedDataParallel(TinyAuxiliaryNet(3))
        for _ in range(3):
            job.loss(trained, batch).backward()
        assert all(weight.grad is not None for weight in trained.parameters())
        trained(batch["image"])[0].sum().backward()
        with pytest.raises(RuntimeError, match="did not receive grad"):
            trained(batch["image"])
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_a_models_own_arguments_are_kept(folder: Path) -> None:
    """They make the network, evaluation finds them in the checkpoint, and a resumed run must have the same."""
    config = tiny_config(folder, "arguments", model="tiny_auxiliary_net", model_args=("wide=5",), epochs=1)
    result = train(config)
    loaded = load_network(result["checkpoint"], "cpu")
    model, saved = loaded.module, loaded.contents
    assert saved["model"] == {"name": "tiny_auxiliary_net", "args": {"wide": 5}}
    assert model.get_submodule("auxiliary.0").out_channels == 5
    store = folder / "val.lmdb"
    assert evaluate(EvaluateConfig(checkpoint=Path(result["checkpoint"]), store=store))["top1"] == result["top1"]
    for words, sentence in (
        ((), "has model_args wide=5, and none is"),
        (("wide=6",), "wide=5, and wide=6 is asked for"),
    ):
        with pytest.raises(InputError, match=sentence):
            train(dataclasses.replace(config, model_args=words, resume=True))
    assert train(dataclasses.replace(config, model_args=("wide=5",), epochs=2, resume=True))["epochs"] == 2


def test_soft_labels_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    save_confusion(tmp_path / "other.h5", np.eye(2), np.ones(2, np.int64), ["cat", "dog"])
    with pytest.raises(InputError, match=r"does not have the classes of .*other\.h5"):
        train(tiny_config(folder, "none", soft_labels=tmp_path / "other.h5"))
    with pytest.raises(InputError, match="both soften the target; set one to 0 or None"):
        tiny_config(folder, "none", soft_labels=tmp_path / "other.h5", label_smoothing=0.1)
    store = folder / "train.lmdb"
    for targets, sentence in ((np.eye(2), "do not fit the 3 classes"), (np.ones((3, 3)), "targets are probabilities")):
        with pytest.raises(InputError, match=sentence):
            classification.train_loader(store, batch_size=4, size=32, targets=targets)
    assert not (folder / "none").exists()

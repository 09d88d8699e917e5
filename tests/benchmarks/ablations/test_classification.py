from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sdali.benchmarks.ablations import classification as ablation_classification
from sdali.benchmarks.ablations import sets as ablation_sets
from sdali.benchmarks.ablations.__main__ import Ablations, interval, rows_named, summary
from sdali.benchmarks.ablations.classification import CLASSIFICATION, ROWS, ClassificationTrial
from sdali.benchmarks.ablations.sets import ImageSet, Protocol
from sdali.benchmarks.scenes.source import scenes
from sdali.pipelines import ImageStore, InputError


def test_intervals_are_student_s() -> None:
    """Against a hand calculation (mean 4, s = 2, t = 4.303 for three values), and a simulation of coverage."""
    found = interval([2.0, 4.0, 6.0])
    assert found["mean"] == 4 and found["half_width"] == pytest.approx(4.303 * 2 / 3**0.5)
    assert interval([1.0]) == {"mean": 1.0, "half_width": None}
    rng = np.random.default_rng(0)
    for count in (3, 5, 15):
        samples = rng.normal(size=(4000, count))
        covered = [abs(one["mean"]) <= one["half_width"] for one in map(interval, samples.tolist())]
        assert abs(np.mean(covered) - 0.95) < 0.015


def test_differences_are_paired_by_seed() -> None:
    """A constant gain over a baseline that varies has no spread; a row without its baseline has no difference."""
    by_name = {row.name: row for row in ROWS}
    found = {
        "plain": [{"top1": 0.5, "cpu_seconds": 10.0}, {"top1": 0.7, "cpu_seconds": 20.0}],
        "sda": [{"top1": 0.6, "cpu_seconds": 30.0}, {"top1": 0.8, "cpu_seconds": 30.0}],
        "flip": [{"top1": 0.6}, {"top1": 0.7}],
    }
    sda = summary(by_name["sda"], found, CLASSIFICATION)
    assert sda["baseline"] == "plain" and sda["cpu_seconds"] == 30
    assert sda["difference"]["mean"] == pytest.approx(0.1)
    assert sda["difference"]["half_width"] == pytest.approx(0, abs=1e-12) and sda["half_width"] > 0.5
    assert "cpu_seconds" not in summary(by_name["flip"], found, CLASSIFICATION)
    assert "difference" not in summary(by_name["label_shuffle"], {"label_shuffle": found["sda"]}, CLASSIFICATION)


def test_other_figures_have_differences_too() -> None:
    """Of one number each; what is counted by class has a mean alone."""
    study = replace(CLASSIFICATION, figure="top1", others=("top5", "per_class"))
    plain, sda = ROWS[0], next(row for row in ROWS if row.baseline == ROWS[0].name)
    one = {"top1": 0.5, "top5": 0.75, "per_class": {"cat": 0.5}}
    found = {plain.name: [one, one], sda.name: [{**one, "top5": 0.5}, {**one, "top5": 0.75}]}
    row = summary(sda, found, study)
    assert row["top5"] == 0.625 and row["per_class"] == {"cat": 0.5}
    assert row["differences"].keys() == {"top5"} and row["differences"]["top5"]["mean"] == -0.125


def test_rows_are_named_once_and_stand_behind_their_baselines() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert all(row.baseline is None or names.index(row.baseline) < names.index(row.name) for row in ROWS)
    assert [row.name for row in rows_named(ROWS, "flip, plain")] == ["plain", "flip"]
    for wrong, named in (("sdaa", "sdaa"), (",", "(none given)")):
        with pytest.raises(InputError, match=re.escape(f"no row is called {named}; there are plain, sda, ")):
            rows_named(ROWS, wrong)


def test_the_long_tail_is_geometric() -> None:
    """60 images of 3 classes of 20: 20, 20 / sqrt 20 and 1 are left, those that come first."""
    tail = ablation_sets._tail(scenes(60, classes=3))
    assert np.bincount([item.label for item in tail.items]).tolist() == [20, 4, 1]
    assert [item.name for item in tail.items if item.label == 1] == [
        item.name for item in scenes(60, classes=3).items if item.label == 1
    ][:4]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ImageSet:
    """48 scenes to train on, 24 to test, 24 held out: one short protocol, so that every row really runs."""
    train = scenes(48, classes=3)
    stores = {
        "train": train, "test": scenes(24, seed=1, classes=3), "held_out": scenes(24, seed=2, classes=3),
        "long_tailed": ablation_sets._tail(train),
    }  # fmt: skip
    paths = {name: ablation_sets.stored(source, tmp_path / f"{name}.lmdb") for name, source in stores.items()}
    protocol = Protocol(size=32, sizes=(24, 32), epochs=3, batch_size=8, foreground=(1,))
    made = ImageSet(protocol=protocol, **paths)
    monkeypatch.setitem(ablation_sets.SETS, "scenes", lambda data, out: made)
    return made


@pytest.mark.slow
def test_every_row_runs_and_is_not_run_again(tiny: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole matrix on a tiny set; from its folder the same record comes again without any training."""
    command = Ablations(task="classification", images="scenes", out=tmp_path / "out", seeds=(4,))
    record = command.run()
    assert [row["row"] for row in record["rows"]] == [row.name for row in ROWS]
    assert all(0 <= row["top1"][0] <= 1 for row in record["rows"])
    assert tiny.long_tailed is not None
    tail = len(ImageStore(tiny.long_tailed))
    assert record["images"] == {"train": 48, "test": 24, "held_out": 24, "long_tailed": tail}
    steps = {
        path.parent.name: json.loads(path.read_text())["steps"] for path in (tmp_path / "out").rglob("result.json")
    }
    assert steps["plain_equal_compute"] == 2 * steps["plain"] == 2 * steps["sda"] == 36
    assert steps["label_shuffle"] == steps["plain"] and abs(steps["long_tailed"] - steps["label_shuffle"]) <= 4
    monkeypatch.setattr(ablation_classification, "train", None)
    monkeypatch.setattr(ablation_classification, "evaluate", None)
    assert command.run()["rows"] == record["rows"]


@pytest.mark.slow
def test_sets_without_masks_or_held_out_images_have_fewer_rows(tiny: ImageSet, tmp_path: Path) -> None:
    bare = ImageSet(protocol=Protocol(epochs=1), train=tiny.train, test=tiny.test)
    left_out = {row.name for row in ROWS if not row.needs(bare)}
    assert left_out == {"oracle_map", "label_smoothing", "soft_labels", "long_tailed", "label_shuffle"}
    assert ClassificationTrial(images=bare, seed=0, folder=tmp_path, threads=1).seed == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images": "cifar"}, "there is no set 'cifar'; there are scenes, imagenette, pets"),
        ({"images": "pets"}, "pets needs --data"),
        ({"images": "imagenette"}, "imagenette needs --data"),
        ({"seeds": ()}, "seeds must be one or more that differ"),
        ({"seeds": (1, 1)}, "seeds must be one or more that differ"),
        ({"rows": "x"}, "no row is called x"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        Ablations(task="classification", out=tmp_path, **options).run()

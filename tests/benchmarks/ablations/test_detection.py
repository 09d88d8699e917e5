"""The ablation of object detection on tiny sets: every row really runs, under one protocol, at equal steps."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from detection_stores import squares, write_store
from training import learnable_store

from sdali.benchmarks.ablations import detection as ablation_detection
from sdali.benchmarks.ablations.__main__ import Ablations
from sdali.benchmarks.ablations.detection import DETECTION, ROWS, DetectionProtocol, DetectionSet
from sdali.pipelines import InputError
from sdali.trainers.core import checkpoint
from sdali.trainers.models.detection.network import DetectionConfig
from sdali.trainers.models.detection.rpn import RPNConfig

SMALL = DetectionConfig(
    backbone="resnet10t", roi_size=3, regions=8,
    rpn=RPNConfig(anchor_sizes=(24,), anchor_ratios=(1.0,), width=8, considered=50, proposals=10),
)  # fmt: skip


def tiny_set(_: Path | None, out: Path) -> DetectionSet:
    """Stores of squares, two steps of two images; and images with classes."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "train.lmdb").exists():
        write_store(out / "train.lmdb", [squares(seed) for seed in range(6)], 2)
        write_store(out / "test.lmdb", [squares(9), squares(10)], 2)
        learnable_store(out / "labelled.lmdb", 32)
        learnable_store(out / "labelled_test.lmdb", 3)
    protocol = DetectionProtocol(
        network=SMALL, shorter_side=64, scales=(64, 80), epochs=1, epoch_length=4, batch_size=2, classifier_epochs=1
    )
    labelled = (out / "labelled.lmdb", out / "labelled_test.lmdb")
    return DetectionSet(protocol=protocol, train=out / "train.lmdb", test=out / "test.lmdb", labelled=labelled)


@pytest.mark.slow
def test_every_row_runs_and_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal steps a row, each its own parts; the figures of the record are those of an evaluation; nothing twice."""
    monkeypatch.setitem(DETECTION.sets, "scenes", tiny_set)
    command = Ablations(task="detection", images="scenes", out=tmp_path / "out", seeds=(3,))
    record = command.run()
    assert [row["row"] for row in record["rows"]] == [row.name for row in ROWS]
    for row in record["rows"]:
        assert len(row["per_class"]) == 2 and row["ap50"] == [pytest.approx(np.mean(list(row["per_class"].values())))]
        assert 0 <= row["recall70"] <= row["recall50"] <= 1
    runs = {
        path.parent.name: checkpoint.load(path, "detection")
        for path in (tmp_path / "out").rglob("last.pt")
        if path.parent.name != "classifier"
    }
    trained = {row.name for row in ROWS} - {"scales", "flip", "voting"}
    assert {name: run["standing"]["step"] for name, run in runs.items()} == dict.fromkeys(trained, 2)
    changed = {
        name: {key for key, value in run["network"].items() if value != runs["base"]["network"][key]}
        for name, run in runs.items()
    }
    assert changed == {
        "base": set(), "cascade": {"cascade_rpn"}, "constrained": {"constrained"},
        "both": {"cascade_rpn", "constrained"}, "global_context_random": {"global_context"}, "pretrained": set(),
        "global_context_pretrained": {"global_context"}, "class_balanced": set(), "ohem": {"ohem"},
    }  # fmt: skip
    monkeypatch.setattr(ablation_detection, "train", None)
    monkeypatch.setattr(ablation_detection, "evaluate", None)
    assert command.run()["rows"] == record["rows"]


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    """And rows that need what a set lacks are left out."""
    for options, sentence in [
        ({}, "bccd needs --data"),
        ({"images": "camvid"}, "there is no set 'camvid'; there are bccd, scenes"),
        ({"images": "scenes", "rows": "sda"}, "no row is called sda; there are base, cascade"),
    ]:
        with pytest.raises(InputError, match=sentence):
            Ablations(task="detection", out=tmp_path, **options).run()
    bare = DetectionSet(protocol=tiny_set(None, tmp_path).protocol, train=tmp_path, test=tmp_path)
    left_out = [row.name for row in ROWS if not row.needs(dataclasses.replace(bare, labelled=None))]
    assert left_out == ["pretrained", "global_context_pretrained"]

"""The ablation of scene parsing on a tiny CamVid of generated pictures: every row really runs, under one protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from pictures import jpeg, photo

from sdali.benchmarks.ablations import parsing as ablation_parsing
from sdali.benchmarks.ablations.__main__ import Ablations
from sdali.benchmarks.ablations.parsing import PARSING, ROWS, camvid_set
from sdali.pipelines import InputError
from sdali.trainers.core import checkpoint
from sdali.trainers.models.parsing.message_passing import MessagePassingConfig
from sdali.trainers.models.parsing.mixed_context import MixedContextConfig
from sdali.trainers.models.parsing.network import FullyConvolutionalConfig, ParsingConfig

SMALL = ParsingConfig(
    backbone="resnet10t",
    fcn=FullyConvolutionalConfig(width=8),
    mcn=MixedContextConfig(channels=8, width=4, dilations=(1,)),
    mpn=MessagePassingConfig(channels=4),
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """CamVid's folders, with 8 and 2 pictures of 48 x 64 and masks of 0 to 11."""
    for part, count in (("train", 8), ("val", 2)):
        for folder in (part, f"{part}annot"):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
        for index in range(count):
            (tmp_path / f"camvid/{part}/{index}.jpg").write_bytes(jpeg(photo(index, 48, 64)))
            mask = np.random.default_rng(index).integers(0, 12, (48, 64), np.uint8)
            cv2.imwrite(str(tmp_path / f"camvid/{part}annot/{index}.png"), mask)
    return tmp_path / "camvid"


@pytest.mark.slow
def test_every_row_runs_and_is_not_run_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal steps a row, each its own head; the figures of the record are those of an evaluation; nothing twice."""

    def tiny_set(folder: Path | None, out: Path) -> ablation_parsing.ParsingSet:
        made = camvid_set(folder, out)
        protocol = dataclasses.replace(made.protocol, network=SMALL, size=(24, 32), shorter_side=24, epochs=1)
        return dataclasses.replace(made, protocol=dataclasses.replace(protocol, batch_size=4))

    monkeypatch.setitem(PARSING.sets, "camvid", tiny_set)
    command = Ablations(task="parsing", data=data, out=tmp_path / "out", seeds=(3,))
    record = command.run()
    assert [row["row"] for row in record["rows"]] == [row.name for row in ROWS]
    for row in record["rows"]:
        ious = list(row["per_class"].values())
        assert len(ious) == 11 and row["mean_iou"] == [pytest.approx(np.mean(ious))]
        assert row["score"] == pytest.approx((row["mean_iou"][0] + row["pixel_accuracy"]) / 2)
    runs = [checkpoint.load(path) for path in sorted((tmp_path / "out").rglob("last.pt"))]
    assert [(run["network"]["head"], run["standing"]["step"], run["shorter_side"]) for run in runs] == [
        (head, 2, 24) for head in ("fcn", "mcn", "mcn_mpn", "mcn", "mcn")
    ]
    monkeypatch.setattr(ablation_parsing, "train", None)
    monkeypatch.setattr(ablation_parsing, "evaluate", None)
    assert command.run()["rows"] == record["rows"]


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    for options, sentence in [
        ({}, "camvid needs --data"),
        ({"images": "scenes"}, "there is no set 'scenes'; there are camvid"),
        ({"rows": "sda"}, "no row is called sda; there are fcn, mcn"),
    ]:
        with pytest.raises(InputError, match=sentence):
            Ablations(task="parsing", out=tmp_path, **options).run()

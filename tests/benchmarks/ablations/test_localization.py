"""The comparison of object localization on a tiny set of pets: one training of each network a seed, five methods."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sdali.benchmarks.ablations.__main__ import Ablations
from sdali.benchmarks.ablations.localization import (
    LOCALIZATION,
    ROWS,
    LocalizationProtocol,
    LocalizationSet,
    pet_heads,
    whole_pets,
)
from sdali.pipelines import ImageStore, InputError
from sdali.trainers import classification, detection, localization
from sdali.trainers.models.detection.network import DetectionConfig
from sdali.trainers.models.detection.rpn import RPNConfig

TINY = DetectionConfig(
    backbone="resnet10t", roi_size=2, regions=8,
    rpn=RPNConfig(anchor_sizes=(24,), anchor_ratios=(1.0,), width=8, considered=50, proposals=10),
)  # fmt: skip


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two breeds of ten photographs each, a trimap to each, of which one is empty, a head's box to the even ones."""
    root = tmp_path / "pets"
    (root / "xmls").mkdir(parents=True)
    (root / "trimaps").mkdir()
    rng = np.random.default_rng(0)
    for breed in ("basset", "beagle"):
        (root / "images" / breed).mkdir(parents=True)
        for number in range(100, 110):
            name = f"{breed}_{number}"
            picture = rng.integers(0, 256, (60, 80, 3), np.uint8)
            trimap = np.full((60, 80), 2, np.uint8)
            trimap[10:50, 20:70] = 3
            trimap[12:48, 22:68] = 1
            if name == "basset_109":
                trimap[:] = 2
            cv2.imwrite(str(root / "images" / breed / f"{name}.jpg"), picture)
            cv2.imwrite(str(root / "trimaps" / f"{name}.png"), trimap)
            if number % 2 == 0:
                box = "<xmin>21</xmin><ymin>11</ymin><xmax>40</xmax><ymax>30</ymax>"
                (root / "xmls" / f"{name}.xml").write_text(
                    "<annotation><size><width>80</width><height>60</height></size>"
                    f"<object><name>{breed}</name><bndbox>{box}</bndbox></object></annotation>"
                )
    return root


def test_the_split_is_by_numbers_and_boxes_are_those_of_the_files(pets: Path, tmp_path: Path) -> None:
    """Endings 0, 1, 2 are tested: 6 photographs of 20, of which 4 have a head."""
    heads, whole = pet_heads(pets, tmp_path / "heads"), whole_pets(pets, tmp_path / "whole")
    sizes = [[len(ImageStore(getattr(one, name))) for name in ("labelled", "train", "test")] for one in (heads, whole)]
    assert sizes == [[14, 6, 4], [14, 13, 6]]
    for one, box in [(heads, [20, 10, 40, 30]), (whole, [20, 10, 70, 50])]:
        store = ImageStore(one.test)
        assert all(name[-5] in "012" for name in store.names)
        for index in range(len(store)):
            assert store.boxes(index).xyxy.tolist() == [box]


@pytest.mark.slow
def test_methods_share_networks_and_nothing_is_run_again(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole image's box error is a fact of the boxes: a head of 20 x 20 in 80 x 60 is missed by it always."""

    def tiny(data: Path | None, out: Path) -> LocalizationSet:
        made = pet_heads(data, out)
        protocol = LocalizationProtocol(
            network=TINY, shorter_side=64, epochs=1, size=32, classifier_epochs=1, batch_size=2,
            classifier_batch_size=7,
        )  # fmt: skip
        return LocalizationSet(protocol=protocol, labelled=made.labelled, train=made.train, test=made.test)

    monkeypatch.setitem(LOCALIZATION.sets, "pet_heads", tiny)
    command = Ablations(task="localization", data=pets, out=tmp_path / "out", seeds=(0, 1))
    record = command.run()
    rows = {row["row"]: row for row in record["rows"]}
    assert list(rows) == [row.name for row in ROWS]
    assert rows["whole_image"]["error"] == [1.0, 1.0]
    assert rows["perfect_classifier"]["label_wrong"] == rows["perfect_classifier"]["both_wrong"] == 0
    for row in rows.values():
        assert np.mean(row["error"]) == pytest.approx(row["box_wrong"] + row["label_wrong"] + row["both_wrong"])
    assert (tmp_path / "out" / "pet_heads" / "seed-1" / "predictions.png").exists()
    for module in (localization, classification, detection):
        monkeypatch.setattr(module, "train", None)
        monkeypatch.setattr(module, "evaluate", None)
    assert command.run()["rows"] == record["rows"]


def test_pets_need_a_folder(tmp_path: Path) -> None:
    for name in ("pet_heads", "pets"):
        with pytest.raises(InputError, match="pets need --data, the folder that holds images/"):
            Ablations(task="localization", images=name, out=tmp_path).run()

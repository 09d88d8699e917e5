"""Detection and localization on two processes under torchrun: both train to one end, and find what one process does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from detection_stores import squares, write_store
from localizing import save_classifier, save_detector, write
from torchrun import found_by_ranks

from sdali.pipelines.store.boxes import none_found
from sdali.trainers import detection, localization

SCRIPT = """
import dataclasses, json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import training  # registers the classifier's network
from detecting import ALL_PARTS
from sdali.trainers import detection, localization

folder, rank = Path(sys.argv[1]), os.environ["RANK"]
shared = {"precision": "float32", "device": "cpu", "threads": 1}
network = dataclasses.replace(ALL_PARTS, cascade=dataclasses.replace(ALL_PARTS.cascade, smallest=16.0))
sides = {"shorter_side": (64, 80), "longer_side": 120, "batch_size": 2, "epochs": 1}
store = folder / "squares.lmdb"
trained = detection.train(
    detection.TrainConfig(store=store, val_store=store, out=folder / "run", network=network, **sides, **shared)
)
found = detection.evaluate(
    detection.EvaluateConfig(checkpoint=(folder / "run/last.pt",), store=store, flip=True,
                             predictions=folder / "two.json", **shared)
)
located = localization.evaluate(
    localization.EvaluateConfig(store=folder / "s.lmdb", classifier=(folder / "c.pt",), detector=(folder / "d.pt",),
                                top=2, answers=folder / "two.txt", picture=folder / "two.png", **shared)
)
(folder / f"{rank}.json").write_text(json.dumps({"trained": trained, "found": found, "located": located}))
"""
SHARED: dict[str, Any] = {"precision": "float32", "device": "cpu", "threads": 1}
Found = tuple[Path, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Two ranks train on 9 images, of which the first four hold nothing, and evaluate 9."""
    folder = tmp_path_factory.mktemp("ranks")
    pictures = [squares(seed) for seed in range(9)]
    empty = [(image, size, none_found()) for image, size, _ in pictures[:4]]
    write_store(folder / "squares.lmdb", [*empty, *pictures[4:]], 2)
    write(folder / "s.lmdb", 9)
    save_classifier(folder / "c.pt", 0)
    save_detector(folder / "d.pt")
    return folder, found_by_ranks(SCRIPT, folder, Path(__file__).parents[2] / "helpers")


@pytest.mark.slow
def test_ranks_train_to_one_end(ranks: Found) -> None:
    """With every part, and batches without an object on either rank; 9 images in steps of 2 x 2 are 2 steps."""
    first, second = (one["trained"] for one in ranks[1])
    assert (first["steps"], first["ranks"]) == (2, 2) and first["ap50"] is not None
    assert (first["steps"], first["ap50"]) == (second["steps"], second["ap50"])


def test_detections_are_those_of_one_process(ranks: Found) -> None:
    """Each image is counted and written once, whichever rank has it; here one has 5 and the other 4."""
    folder, found = ranks
    whole = detection.evaluate(
        detection.EvaluateConfig(
            checkpoint=(folder / "run/last.pt",), store=folder / "squares.lmdb", flip=True,
            predictions=folder / "one.json", **SHARED,
        )
    )  # fmt: skip
    assert (folder / "one.json").read_bytes() == (folder / "two.json").read_bytes()
    for one in found:
        for name in ("images", "ap", "ap50", "voc_map", "recall50", "ar", "per_class"):
            assert one["found"][name] == whole[name]


def test_localization_is_that_of_one_process(ranks: Found) -> None:
    """The errors of all methods, and the answers, written once."""
    folder, found = ranks
    whole = localization.evaluate(
        localization.EvaluateConfig(
            store=folder / "s.lmdb", classifier=(folder / "c.pt",), detector=(folder / "d.pt",), top=2,
            answers=folder / "one.txt", **SHARED,
        )
    )  # fmt: skip
    assert (folder / "one.txt").read_bytes() == (folder / "two.txt").read_bytes()
    assert (folder / "two.png").exists() and set(whole["baselines"]) >= {"cam_box", "perfect_classifier"}
    for one in found:
        for name in ("images", "error", "box_wrong", "label_wrong", "both_wrong", "per_class", "baselines"):
            assert one["located"][name] == whole[name]

"""The sheet of scene parsing shows what the loader hands out: tensors that agree with the masks beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from commands import refusal_of
from parsing_stores import CLASSES, IGNORE, make_parsing_store, write_store
from pictures import make_store
from PIL import Image

from sdali.cams.drawing.mask_colours import palette
from sdali.cams.heatmaps import from_rare_classes
from sdali.cams.previews.samples import EPOCHS, MARKED, as_pictures, batches_of
from sdali.cli.main import main
from sdali.pipelines import ImageStore, parsing
from sdali.pipelines.config import Colour, ParsingAugmentation
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.subset import Subset


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_parsing_store(tmp_path_factory.mktemp("store") / "s.lmdb", 8, (60, 80))


def test_what_is_shown_is_aligned(tmp_path: Path) -> None:
    """Pictures whose grey says the class: in each tensor shown, the grey is that of the mask shown, padding beside."""
    masks = [np.repeat(np.repeat(np.random.default_rng(k).integers(0, 5, (6, 8)), 10, 0), 10, 1) for k in range(3)]
    masks = [mask.astype(np.uint8) for mask in masks]
    images = [cv2.imencode(".png", np.repeat((40 * mask + 20)[:, :, None], 3, 2))[1].tobytes() for mask in masks]
    store = write_store(tmp_path / "s.lmdb", list(zip(images, masks, strict=True)))
    augmentation = ParsingAugmentation(
        colour=Colour(brightness=0, contrast=0, saturation=0, lighting=0), interpolations=("nearest",)
    )
    loading: dict[str, Any] = {"size": (90, 120), "seed": 3, "threads": 1, "augmentation": augmentation}
    batches = batches_of(parsing.train_loader, Subset(store, [2, 0]), statistics=IMAGENET, **loading)
    assert [batch["plan"]["window"].shape for batch in batches] == [(2, 4)] * EPOCHS
    tensors = np.stack([as_pictures(batch["image"], IMAGENET) for batch in batches[-len(MARKED) :]])
    shown = np.stack([batch["mask"].numpy() for batch in batches[-len(MARKED) :]])
    assert tensors.shape == (len(MARKED), 2, 90, 120, 3) and shown.shape == (len(MARKED), 2, 90, 120)
    labelled = shown != IGNORE
    assert 0.5 < labelled.mean() < 1
    assert np.abs(tensors[labelled].astype(int) - (40 * shown[labelled].astype(int) + 20)[:, None]).max() <= 1


def test_the_command_writes_the_sheet_it_reports(store: ImageStore, tmp_path: Path, capsys) -> None:
    """The reported size, the same again, a column wider with heatmaps; every class that occurs is in the legend."""
    from_rare_classes(store, tmp_path / "m.lmdb")

    def sheet(name: str, *words: object) -> dict:
        options = (*words, "--count", 3, "--size", 40, 50, "--parsing-crop.scale", 1, 2)
        assert main(["preview", str(store.path), str(tmp_path / name), *map(str, options)]) == 0
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    plain = sheet("plain.png")
    guided, _ = (sheet(name, "--cams", tmp_path / "m.lmdb") for name in ("guided.png", "again.png"))
    with Image.open(guided["file"]) as image:
        assert image.size == (guided["width"], guided["height"])
        legend = np.asarray(image)[-60:]
    assert (tmp_path / "guided.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert guided["width"] > plain["width"] and len(guided["images"]) == 3
    assert all((legend == colour).all(2).sum() >= 200 for colour in palette(CLASSES))


def test_flags_of_the_other_kind_of_store_are_refused(store: ImageStore, tmp_path: Path, capsys) -> None:
    """A crop that would have no effect, two sides for squares, and what no loader takes: one sentence, no picture."""
    images = make_store(tmp_path / "images.lmdb", 4)
    for words, sentence in (
        ((images.path, "--parsing-crop.gamma", 2), "images.lmdb is no store for scene parsing; leave out"),
        ((images.path, "--size", 40, 50), "images.lmdb is no store for scene parsing; leave out"),
        ((store.path, "--crop.gamma", 2), "give parsing_crop in place of a crop"),
        ((store.path, "--size", 0), "size must be at least 1 and whole, got 0"),
        ((store.path, "--count", 0), "count must be at least 1 and whole, got 0"),
    ):
        assert sentence in refusal_of(capsys, "preview", words[0], tmp_path / "p.png", *words[1:])
    assert not (tmp_path / "p.png").exists()

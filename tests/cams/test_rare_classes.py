"""Maps of rare classes: weights against a count pixel by pixel, sums that survive 8 bits, and what the windows hold."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from commands import refusal_of
from heatmap_reference import enlarged_shares
from hypothesis import given
from hypothesis import strategies as st
from parsing_stores import CLASSES, IGNORE, make_parsing_store, write_store
from pictures import jpeg, make_store, photo

from sdali.cams.annotation_maps import rare_class_heatmap, value_weights
from sdali.cams.heatmaps import from_rare_classes
from sdali.cli.main import main
from sdali.pipelines import ImageStore, InputError, parsing
from sdali.pipelines.build.build import build
from sdali.pipelines.sources.masks import images_and_masks
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.measure import class_frequencies


def true_cells(store: ImageStore, grid: int) -> list[np.ndarray]:
    """float64 [grid, grid] of each image: its pixels' 1 / count of their class, averaged by brute force."""
    masks = [store.mask(index) for index in range(len(store))]
    counts = {k: sum((mask == k).sum() for mask in masks) for k in range(CLASSES)}
    weights = [np.vectorize(lambda value: 1 / counts[value] if value in counts else 0.0)(mask) for mask in masks]
    return [enlarged_shares(weight, grid) for weight in weights]


def test_a_cell_has_the_mean_weight_of_its_pixels(tmp_path: Path) -> None:
    """Every rectangle of cells holds what brute force gives it, to within 1 of 255 a row; the largest cell has 255."""
    store = make_parsing_store(tmp_path / "s.lmdb", 12)
    report = from_rare_classes(store, tmp_path / "m.lmdb", grid=6)
    for heatmap, cells in zip(HeatmapStore(tmp_path / "m.lmdb"), true_cells(store, 6), strict=True):
        levels = cells * 255 / cells.max()
        errors = heatmap - levels
        assert np.abs(errors).max() < 1 and heatmap.max() == 255
        assert np.abs(np.add.accumulate(errors, 1)).max() <= 1 + 1e-6
    assert report["method"] == "rare classes, 1 / frequency, 6 x 6 cells" and report["images"] == 12


@given(st.integers(0, 99), st.sampled_from([1, 10, 1000, 100_000]))
def test_dim_classes_keep_their_share(seed: int, ratio: int) -> None:
    """However much rarer another class is: each half of a map keeps its share, to within 1 of 255 at its end."""
    mask = np.zeros((40, 60), np.uint8)
    y, x = np.random.default_rng(seed).integers(0, [40, 60])
    mask[y, x] = 1
    weight_of = np.zeros(256)
    weight_of[:2] = 1, ratio
    heatmap = rare_class_heatmap(mask, weight_of, 10)
    cells = enlarged_shares(weight_of[mask], 10)
    levels = cells * 255 / cells.max()
    assert heatmap.max() == 255
    assert np.abs(np.cumsum(heatmap.ravel(), dtype=float) - np.cumsum(levels.ravel())).max() <= 0.5 + 1e-6


def test_ignored_pixels_guide_nothing(tmp_path: Path) -> None:
    """Their cells are 0, and an image of them alone has an empty map, so its windows are plain."""
    half = np.full((40, 40), IGNORE, np.uint8)
    half[:, 20:] = 3
    masks = [half, np.full((30, 50), IGNORE, np.uint8)]
    store = write_store(tmp_path / "s.lmdb", [(jpeg(photo(0, *mask.shape)), mask) for mask in masks])
    assert from_rare_classes(store, tmp_path / "m.lmdb", grid=4)["empty_share"] == 0.5
    first, second = HeatmapStore(tmp_path / "m.lmdb")
    assert first.tolist() == [[0, 0, 255, 255]] * 4 and not second.any()
    (batch,) = parsing.train_loader(store, heatmaps=tmp_path / "m.lmdb", batch_size=2, size=16, device="cpu")
    assert batch["plan"]["guided"].tolist() == [index == 0 for index in batch["index"].tolist()]


def rare_scenes(path: Path) -> ImageStore:
    """40 pictures of one class; in each, one patch of 3 % of its area of one of four rare classes."""
    rng, masks = np.random.default_rng(0), []
    for index in range(40):
        mask = np.zeros((90, 120), np.uint8)
        y, x = rng.integers(0, [72, 102])
        mask[y : y + 18, x : x + 18] = 1 + index % 4
        masks.append(mask)
    return write_store(path, [(jpeg(photo(0, 90, 120)), mask) for mask in masks])


def masks_of_windows(store: ImageStore, heatmaps: Path | None, size: tuple[int, int]) -> np.ndarray:
    """int64 [N, *size]: the masks of three epochs."""
    loader = parsing.train_loader(
        store, heatmaps=heatmaps, batch_size=len(store), size=size, seed=2, device="cpu", threads=1
    )
    return np.concatenate([batch["mask"].numpy() for _ in range(3) for batch in loader])


def test_guided_windows_show_rare_classes_more_often(tmp_path: Path) -> None:
    """A patch of 3 %, its class 130 times rarer than the ground: nearly four of five draws fall on it."""
    store = rare_scenes(tmp_path / "s.lmdb")
    weights = value_weights(class_frequencies(store))
    assert weights[1] / weights[0] > 100
    assert main(["cams", str(store.path), str(tmp_path / "m.lmdb"), "--from", "rare-classes"]) == 0
    plain, guided = (
        (masks_of_windows(store, maps, (30, 40)) % IGNORE > 0).any((1, 2)).mean()
        for maps in (None, tmp_path / "m.lmdb")
    )
    assert plain < 0.6 and guided > 0.8


@pytest.mark.slow
def test_on_camvid_windows_hold_more_of_the_rarest_classes(tmp_path: Path, real_data: Path) -> None:
    """Of the labelled pixels of windows of half the image's sides, the five rarest classes get half as many again."""
    path, maps = tmp_path / "s.lmdb", tmp_path / "m.lmdb"
    build(images_and_masks(real_data / "camvid", preset="camvid"), path)
    store = ImageStore(path)
    from_rare_classes(store, maps)
    rarest = np.argsort(class_frequencies(store).pixels)[:5]
    windows = (masks_of_windows(store, heatmaps, (180, 240)) for heatmaps in (None, maps))
    plain, guided = (np.isin(masks, rarest).sum() / (masks != store.ignore_index).sum() for masks in windows)
    assert plain < 0.06 and guided > 1.4 * plain, (plain, guided)


def test_what_has_no_masks_of_classes_is_refused(tmp_path: Path, capsys) -> None:
    """One sentence, and no store; so are grids without cells."""
    store = make_store(tmp_path / "s.lmdb", 4)
    sentence = refusal_of(capsys, "cams", store.path, tmp_path / "m.lmdb", "--from", "rare-classes")
    assert "s.lmdb has no masks of classes; build it with sdali build --format masks" in sentence
    with pytest.raises(InputError, match="grid must be 1 to 4,096 cells on each side, got 0"):
        from_rare_classes(store, tmp_path / "m.lmdb", grid=0)
    assert os.listdir(tmp_path) == ["s.lmdb"]

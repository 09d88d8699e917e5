"""Heatmap stores from masks and boxes: each map is its own image's, and a store without either is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from squares import CELLS, build, squares

from sdali.cams.annotation_maps import boxes_heatmap, mask_heatmap
from sdali.cams.heatmaps import from_boxes, from_masks
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

COUNT = 22


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return build(tmp_path_factory.mktemp("images") / "images.lmdb", [i % 2 for i in range(COUNT)])


def test_masks_become_heatmaps(store: ImageStore, tmp_path: Path) -> None:
    """Each map is its own mask's, in order, with the foreground and grid asked for."""
    report = from_masks(store, tmp_path / "masks.lmdb", foreground=(1,), grid=CELLS)
    maps = HeatmapStore(tmp_path / "masks.lmdb")
    for index in range(COUNT):
        assert np.array_equal(maps[index], mask_heatmap(store.mask(index), (1,), CELLS))
        assert maps[index].argmax() == np.ravel_multi_index(squares(index)[1], (CELLS, CELLS))
    assert report["mean_spread"] == pytest.approx(1 / CELLS**2) and report["empty_share"] == 0
    assert from_masks(store, tmp_path / "none.lmdb", foreground=(7,))["empty_share"] == 1


def test_boxes_become_heatmaps(store: ImageStore, tmp_path: Path) -> None:
    """Each map is its own boxes', in the coordinates of its own image."""
    from_boxes(store, tmp_path / "boxes.lmdb", grid=CELLS)
    for index, heatmap in enumerate(HeatmapStore(tmp_path / "boxes.lmdb")):
        height, width = store.sizes[index].tolist()
        assert np.array_equal(heatmap, boxes_heatmap(store.boxes(index)[0], height, width, CELLS))
        assert heatmap.argmax() == np.ravel_multi_index(squares(index)[1], (CELLS, CELLS))


@pytest.mark.parametrize("make", [from_masks, from_boxes])
def test_a_store_without_annotations_is_refused(tmp_path: Path, make: Callable[..., Any]) -> None:
    """The sentence names the store and the other way."""
    with StoreWriter(tmp_path / "plain.lmdb", classes=("a",)) as writer:
        writer.add(b"x", label=0, height=1, width=1, name="x")
    with pytest.raises(InputError, match=r"plain.lmdb has no (masks|boxes); build it with"):
        make(ImageStore(tmp_path / "plain.lmdb"), tmp_path / "maps.lmdb")


def test_an_image_without_a_mask_gets_an_empty_map(tmp_path: Path) -> None:
    """Nothing is known about it, so its windows are drawn plainly."""
    with StoreWriter(tmp_path / "images.lmdb", classes=("a",), has_masks=True) as writer:
        mask = cv2.imencode(".png", np.ones((6, 5), np.uint8))[1].tobytes()
        writer.add(b"x", label=0, height=6, width=5, name="with", mask=mask)
        writer.add(b"x", label=0, height=6, width=5, name="without")
    assert from_masks(ImageStore(tmp_path / "images.lmdb"), tmp_path / "maps.lmdb", grid=3)["empty_share"] == 0.5
    assert [heatmap.max() for heatmap in HeatmapStore(tmp_path / "maps.lmdb")] == [255, 0]

"""The contact sheet shows what the loader does: its drawings against known pixels, its tensors against OpenCV."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdali.cams.drawing.overlay import heatmap_overlay, windows_drawn
from sdali.cams.drawing.sheet import Row, contact_sheet, fitted, framed
from sdali.cams.previews.preview import preview, spread_over_classes
from sdali.cams.previews.samples import EPOCHS, MARKED, as_pictures, batches_of
from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines import classification
from sdali.pipelines.config import Augmentation, Colour
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.subset import Subset
from sdali.pipelines.store.writer import StoreWriter

RED = (255, 0, 0)


def smooth(height: int, width: int, seed: int) -> np.ndarray:
    """A random picture without edges, RGB uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """Eight pictures of two classes and several shapes, losslessly encoded."""
    path = tmp_path_factory.mktemp("images") / "images.lmdb"
    with StoreWriter(path, classes=("cat", "dog")) as writer:
        for index in range(8):
            picture = smooth(60 + 10 * index, 120 - 5 * index, index)
            data = cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes()
            height, width = picture.shape[:2]
            writer.add(data, label=index % 2, height=height, width=width, name=f"folder/{index}.png")
    return ImageStore(path)


def build_heatmaps(store: ImageStore, path: Path, digest: str) -> Path:
    with HeatmapWriter(path, count=len(store), images_digest=digest, method="test") as writer:
        writer.put(range(len(store)), np.eye(6, dtype=np.uint8)[None].repeat(len(store), 0) * 255)
        writer.finish()
    return path


# Drawings


def test_overlay_is_hot_where_the_map_is() -> None:
    """On an even picture the colours follow the map: brightest in the hot cell, and equal on equal levels."""
    heatmap = np.zeros((4, 5), np.uint8)
    heatmap[1, 3] = 255
    drawn = heatmap_overlay(np.full((40, 50, 3), 90, np.uint8), heatmap).astype(int).sum(2)
    y, x = np.unravel_index(drawn.argmax(), drawn.shape)
    assert (y // 10, x // 10) == (1, 3)
    assert len(np.unique(drawn[:, :20])) == 1


def test_overlay_leaves_the_picture_visible() -> None:
    """Black and white under the same map stay a third of the range apart, wherever the map is hot."""
    heatmap = np.arange(256, dtype=np.uint8).reshape(16, 16)
    black, white = (heatmap_overlay(np.full((64, 64, 3), level, np.uint8), heatmap).astype(int) for level in (0, 255))
    assert (white - black).min() >= 255 // 3


def test_windows_are_drawn_where_they_are() -> None:
    """Outline on the window's outermost pixels, also at the border of the picture; a dot at its centre; else dimmed."""
    drawn = windows_drawn(np.full((60, 80, 3), 200, np.uint8), [(0, 0, 30, 40), (20, 30, 40, 50)], [RED, None])
    assert (drawn[0, :40] == RED).all() and (drawn[:29, 0] == RED).all()
    assert (drawn[15, 20] == RED).all() and (drawn[40, 55] == 255).all()
    assert (drawn[59, 31:79] > 200).all()
    assert (drawn[55, :25] == drawn[55, 0]).all() and drawn[55, 0, 0] < 200


@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 60), st.integers(8, 60))
def test_fitted_pictures_fill_their_place(height: int, width: int, place_height: int, place_width: int) -> None:
    """One side fills its place, the other does not leave it, and the shape is kept to half a pixel."""
    found = fitted(np.zeros((height, width, 3), np.uint8), place_height, place_width).shape[:2]
    assert found[0] <= place_height and found[1] <= place_width
    assert found[0] == place_height or found[1] == place_width
    scale = min(place_height / height, place_width / width)
    assert abs(found[0] - max(1, height * scale)) <= 0.5 and abs(found[1] - max(1, width * scale)) <= 0.5


def test_sheet_holds_every_picture_once() -> None:
    """Each cell's pixels stand in the sheet untouched, in its row and column; all around them is white."""
    colours = [[(10, 0, 0), (20, 0, 0), (30, 0, 0)], [(40, 0, 0), (50, 0, 0), (60, 0, 0)]]
    rows = [Row(name="n", details="d", cells=[np.full((20, 30, 3), c, np.uint8) for c in line]) for line in colours]
    sheet = np.asarray(contact_sheet([("A title wider than its column", 1), ("B", 2)], rows, 20))
    corners = np.array([[np.argwhere((sheet == c).all(2))[[0, -1]] for c in line] for line in colours])
    assert (corners[:, :, 1] - corners[:, :, 0] == (19, 29)).all()
    assert (np.diff(corners[:, :, 0, 0], axis=1) == 0).all() and (np.diff(corners[:, :, 0, 1], axis=0) == 0).all()
    assert (np.diff(corners[:, :, 0, 0], axis=0) > 20).all() and (np.diff(corners[:, :, 0, 1], axis=1) > 30).all()
    assert (sheet[:10] == 255).all() and (sheet[-10:] == 255).all() and (sheet[:, :10] == 255).all()


def test_framed_changes_the_border_only() -> None:
    """Three pixels at each edge take the colour; the rest stays."""
    picture = smooth(20, 24, 0)
    frame = framed(picture, RED)
    assert (frame[3:-3, 3:-3] == picture[3:-3, 3:-3]).all()
    assert (frame[:3] == RED).all() and (frame[:, -3:] == RED).all()


# What is shown


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=40), st.integers(1, 50), st.integers(0, 5))
def test_samples_are_spread_over_classes(labels: list[int], count: int, seed: int) -> None:
    """As many as asked or there are, none twice; no class has two fewer than another unless all of it is shown."""
    chosen = spread_over_classes(np.array(labels), count, seed)
    assert len(set(chosen)) == len(chosen) == min(count, len(labels))
    shown, there = Counter(labels[i] for i in chosen), Counter(labels)
    assert all(shown[label] == there[label] or shown[label] >= max(shown.values()) - 1 for label in there)


def test_shown_tensors_are_the_marked_windows(store: ImageStore) -> None:
    """Without jitter, a tensor is the crop of its window, resized by OpenCV, up to the kernels' small differences."""
    augmentation = Augmentation(
        colour=Colour(brightness=0, contrast=0, saturation=0, lighting=0), flip=0, interpolations=("linear",)
    )
    chosen: list[int] = [5, 0, 2]
    loading: dict[str, Any] = {"size": 48, "seed": 3, "threads": 1, "augmentation": augmentation}
    batches = batches_of(classification.train_loader, Subset(store, chosen), statistics=IMAGENET, **loading)
    windows = np.stack([batch["plan"]["window"] for batch in batches])
    tensors = np.stack([as_pictures(batch["image"], IMAGENET) for batch in batches[-len(MARKED) :]])
    assert windows.shape == (EPOCHS, 3, 4) and tensors.shape == (len(MARKED), 3, 48, 48, 3)
    for epoch, of_epoch in zip(windows[-len(MARKED) :], tensors, strict=True):
        for index, (y, x, height, width), tensor in zip(chosen, epoch, of_epoch, strict=True):
            picture = smooth(60 + 10 * index, 120 - 5 * index, index)[y : y + height, x : x + width]
            resized = cv2.resize(picture, (48, 48), interpolation=cv2.INTER_LINEAR)
            assert np.abs(resized.astype(int) - tensor).mean() < 2


def test_preview_writes_the_sheet_it_reports(store: ImageStore, tmp_path: Path) -> None:
    """The picture has the reported size and images, is the same again, and wider by a column with heatmaps."""
    options: dict[str, Any] = {"count": 3, "size": 32, "threads": 1}
    heatmaps = build_heatmaps(store, tmp_path / "maps.lmdb", store.digest)
    plain = preview(store, tmp_path / "plain.png", **options)
    guided = preview(store, tmp_path / "guided.png", heatmaps=heatmaps, **options)
    preview(store, tmp_path / "again.png", heatmaps=heatmaps, **options)
    with Image.open(guided["file"]) as image:
        assert image.size == (guided["width"], guided["height"])
    assert (tmp_path / "guided.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert guided["width"] > plain["width"] and guided["height"] == plain["height"]
    assert guided["images"] == plain["images"] and len(guided["images"]) == 3


def test_boxes_of_classified_images_are_drawn(tmp_path: Path) -> None:
    """On the image alone, where they are: all that differs from the sheet of the same images without boxes."""
    image = smooth(112, 120, 0)
    data = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    sheets = []
    box = Boxes(np.array([[30, 20, 90, 60]], np.float32), np.array([0]), np.zeros(1, bool))
    for name, boxes in (("plain", None), ("boxed", box)):
        with StoreWriter(tmp_path / name, classes=("cat",), has_boxes=boxes is not None) as writer:
            writer.add(data, label=0, height=112, width=120, name="cat/0.png", boxes=boxes)
        preview(ImageStore(tmp_path / name), tmp_path / f"{name}.png")
        sheets.append(np.asarray(Image.open(tmp_path / f"{name}.png")))
    (top, left), *_ = np.argwhere((sheets[0] != fitted(image, 224, 299)[0, 0]).any(2) == 0)  # the image's corner
    rows, columns = np.nonzero((sheets[0] != sheets[1]).any(2))
    found = np.array([columns.min() - left, rows.min() - top, columns.max() + 1 - left, rows.max() + 1 - top])
    assert np.abs(found - 2 * np.array([30, 20, 90, 60])).max() <= 1


def test_what_cannot_be_shown_is_refused(store: ImageStore, tmp_path: Path) -> None:
    """Heatmaps of other images, no images, and a folder that does not exist: one sentence each, and no picture."""
    other = build_heatmaps(store, tmp_path / "other.lmdb", "other")
    with pytest.raises(InputError, match=r"other.lmdb were made from other images than .*images.lmdb"):
        preview(store, tmp_path / "a.png", heatmaps=other)
    with pytest.raises(InputError, match="count must be at least 1 and whole, got 0"):
        preview(store, tmp_path / "a.png", count=0)
    with pytest.raises(InputError, match=r"cannot write .*nowhere/a.png: there is no folder"):
        preview(store, tmp_path / "nowhere" / "a.png", count=1, size=32, threads=1)
    assert not list(tmp_path.glob("*.png"))

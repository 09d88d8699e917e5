"""Boxes, windows, flips and EXIF orientations against painted pixels, and the laws that undo them."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdali.pipelines import classification
from sdali.pipelines.images.header import probe
from sdali.pipelines.plan.parsing import PARSING_PLAN
from sdali.pipelines.plan.planner import PLAN
from sdali.pipelines.store.boxes import Boxes, moved
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.writer import StoreWriter

# What a viewer does to the stored pixels (EXIF 2.32, tag 274), as moves of an array [H, W, ...].
ORIENTED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda image: image,
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: lambda image: np.rot90(image),
}
INVERSE = {6: 8, 8: 6}  # the others undo themselves


@st.composite
def placed_windows(draw: st.DrawFn) -> tuple[int, int, np.void]:
    """Height and width of an image, and a row whose window is enlarged by whole factors into a larger output."""
    height, width = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    window = [y, x, draw(st.integers(1, height - y)), draw(st.integers(1, width - x))]
    down, across = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    row = np.zeros(1, PARSING_PLAN)[0]
    row["window"], row["flip"] = window, draw(st.booleans())
    row["placed"] = [draw(st.integers(0, 5)), draw(st.integers(0, 5)), window[2] * down, window[3] * across]
    return height, width, row


def one_box(xyxy: list[int]) -> Boxes:
    return Boxes(np.array([xyxy], np.float32), np.zeros(1, np.int64), np.zeros(1, bool))


@given(placed_windows(), st.data())
def test_a_box_goes_where_its_pixels_go(image_and_row: tuple[int, int, np.void], data: st.DataObject) -> None:
    """Painted, sliced, enlarged, mirrored and put in place, the pixels of a box span what `moved` says; a box that is
    left out has its centre outside the window.
    """
    height, width, row = image_and_row
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = [x, y, data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height))]
    painted = np.zeros((height, width), bool)
    painted[box[1] : box[3], box[0] : box[2]] = True
    top, left, tall, wide = row["window"].tolist()
    down, across, place = row["placed"][2] // tall, row["placed"][3] // wide, row["placed"]
    seen = painted[top : top + tall, left : left + wide].repeat(down, 0).repeat(across, 1)
    output = np.zeros((place[0] + place[2], place[1] + place[3]), bool)
    output[place[0] :, place[1] :] = seen[:, ::-1] if row["flip"] else seen
    rows, columns = np.nonzero(output)
    got = moved(one_box(box), row)
    if len(got.xyxy):
        expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert got.xyxy.tolist() == [expected]
    else:
        assert not (left <= (box[0] + box[2]) / 2 < left + wide and top <= (box[1] + box[3]) / 2 < top + tall)


@given(st.integers(1, 4000), st.integers(1, 4000), st.data())
def test_flipping_twice_is_nothing_and_a_place_can_be_undone(height: int, width: int, data: st.DataObject) -> None:
    """Two flips of the whole image keep every box to the bit, one mirrors its edges; the window back from the output
    brings a box back.
    """
    row, back = np.zeros(2, PARSING_PLAN)
    row["window"] = row["placed"] = [0, 0, height, width]
    row["flip"] = True
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = [x, y, data.draw(st.integers(x + 1, width)), data.draw(st.integers(y + 1, height))]
    once = moved(one_box(box), row)
    assert once.xyxy.tolist() == [[width - box[2], box[1], width - box[0], box[3]]]
    assert moved(once, row).xyxy.tolist() == [box]
    row["placed"] = [data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)), *data.draw(SIZE)]
    back["window"], back["placed"], back["flip"] = row["placed"], row["window"], True
    returned = moved(moved(one_box(box), row), back)
    np.testing.assert_allclose(returned.xyxy, [box], atol=2e-3 * max(height, width) / 100 + 1e-3)


SIZE = st.tuples(st.integers(100, 2000), st.integers(100, 2000))


def tagged(pixels: np.ndarray, orientation: int) -> bytes:
    """A JPEG of the pixels, uint8 [H, W, 3] RGB, that says so."""
    exif, file = Image.Exif(), BytesIO()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=95, subsampling=0, exif=exif)
    return file.getvalue()


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(sorted(ORIENTED)))
def test_the_header_has_the_size_that_is_seen(height: int, width: int, orientation: int) -> None:
    header = probe(tagged(np.zeros((height, width, 3), np.uint8), orientation))
    assert (header.height, header.width) == ORIENTED[orientation](np.zeros((height, width))).shape
    assert header.orientation == orientation


def picture() -> np.ndarray:
    """uint8 [32, 48, 3], smooth and without any symmetry, so that JPEG loses next to nothing."""
    coarse = np.random.default_rng(3).integers(0, 256, (4, 6, 3), np.uint8)
    return cv2.resize(coarse, (48, 32), interpolation=cv2.INTER_CUBIC)


def test_inverse_orientations_undo_each_other() -> None:
    """Each table entry followed by its inverse, on pixels; and no two entries are the same."""
    image = picture()
    for orientation, move in ORIENTED.items():
        assert np.array_equal(ORIENTED[INVERSE.get(orientation, orientation)](move(image)), image)
    assert len({move(image).tobytes() + bytes(move(image).shape) for move in ORIENTED.values()}) == 8


def test_windows_and_flips_are_of_the_image_as_it_is_seen(tmp_path: Path) -> None:
    """The same picture stored in all eight orientations: DALI's whole images are the same, and OpenCV's replay of a
    flipped window is the slice of the picture.
    """
    image = picture()
    files = [tagged(ORIENTED[INVERSE.get(o, o)](image), o) for o in ORIENTED]
    with StoreWriter(tmp_path / "s.lmdb", classes=["a"]) as writer:
        for orientation, data in zip(ORIENTED, files, strict=True):
            writer.add(data, label=0, height=32, width=48, name=f"{orientation}.jpg")
    store = ImageStore(tmp_path / "s.lmdb")
    options = {"batch_size": 8, "size": 32, "crop": "whole", "device": "cpu", "threads": 1, "statistics": IMAGENET}
    (batch,) = classification.test_loader(store, **options)
    levels = 255 * float(IMAGENET.std.mean())
    assert np.abs(batch["image"].numpy() - batch["image"][:1].numpy()).mean() * levels < 1.5
    row = np.zeros(1, PLAN)[0]
    row["window"], row["flip"], row["factors"], row["interpolation"] = [5, 9, 20, 20], True, 1, 0
    expected = image[5:25, 9:29][:, ::-1] / 255
    for data in files:
        seen = reference.replay(data, row, IMAGENET, 20).transpose(1, 2, 0) * IMAGENET.std + IMAGENET.mean
        assert np.abs(seen - expected).mean() * 255 < 2


@pytest.mark.parametrize("orientation", [2, 5, 6, 7])
def test_another_orientation_would_be_seen(orientation: int) -> None:
    """The pictures of the test above differ by far more than its bound."""
    image = picture().astype(int)
    other = cv2.resize(ORIENTED[orientation](picture()), (48, 32)).astype(int)
    assert np.abs(image - other).mean() > 20

"""What a build does to an image that is too large, lies on its side, or is of a format that DALI does not decode."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from building import built, decoded, encoded, picture
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.pipelines.sources.source import Loaded, Source, SourceItem
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.reader import ImageStore


def test_shrinking_keeps_what_the_picture_shows(tmp_path: Path) -> None:
    """Image, mask and boxes shrink together to the shorter side, nothing is enlarged, orientation is applied."""
    image, mask = picture(200, 100), np.zeros((200, 100), np.uint8)
    image[40:120, 20:60], mask[40:120, 20:60] = (0, 0, 255), 1
    boxes = Boxes(np.array([[20, 40, 60, 120]], np.float32), np.array([1]), np.array([True]))
    png = cv2.imencode(".png", mask)[1].tobytes()
    items = [
        SourceItem("large.jpg", -1, lambda: Loaded(encoded(image), png, boxes)),
        SourceItem("small.jpg", -1, lambda: Loaded(encoded(image[::10, ::10]))),
    ]
    built(Source(("a", "b"), items, has_masks=True, has_boxes=True), tmp_path / "s.lmdb", shorter_side=50)
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.sizes.tolist() == [[100, 50], [20, 10]]
    assert bytes(store.read([1])[0]) == encoded(image[::10, ::10])
    red = (decoded(store, 0)[..., 2] > 200) & (decoded(store, 0)[..., :2].max(-1) < 60)
    inside = np.zeros((100, 50), bool)
    inside[20:60, 10:30] = True
    assert (red[22:58, 12:28]).all() and np.array_equal(store.mask(0).astype(bool), inside)
    assert store.boxes(0)[0].tolist() == [[10, 20, 30, 60]] and store.boxes(0).labels.tolist() == [1]
    assert store.boxes(0).difficult.tolist() == [True]
    assert not store.has_mask(1) and len(store.boxes(1)[0]) == 0


def test_oriented_images_shrink_upright(tmp_path: Path) -> None:
    """A photograph with EXIF orientation 6 is stored upright, so that its size needs no EXIF any more."""
    (tmp_path / "p").mkdir()
    exif = Image.Exif()
    exif[274] = 6
    shown = picture(100, 200)
    Image.fromarray(shown).save(tmp_path / "p" / "1.jpg", exif=exif, quality=95)
    built(tmp_path / "p", tmp_path / "s.lmdb", shorter_side=50)
    store = ImageStore(tmp_path / "s.lmdb")
    upright = cv2.resize(np.rot90(shown, -1), (50, 100), interpolation=cv2.INTER_AREA)
    assert store.sizes.tolist() == [[100, 50]]
    assert np.abs(decoded(store, 0)[..., ::-1].astype(int) - upright).mean() < 4


def test_transcoding_makes_jpegs_of_what_dali_does_not_decode(tmp_path: Path) -> None:
    """A GIF called .jpg becomes a JPEG of the same picture; what is broken stays refused."""
    (tmp_path / "p").mkdir()
    shown = np.repeat(picture(40, 60)[..., :1], 3, 2)
    Image.fromarray(shown).save(tmp_path / "p" / "1.jpg", format="GIF")
    built(tmp_path / "p", tmp_path / "s.lmdb", transcode=True, verify=True)
    store = ImageStore(tmp_path / "s.lmdb")
    assert bytes(store.read([0])[0][:3]) == b"\xff\xd8\xff" and store.sizes.tolist() == [[40, 60]]
    assert np.abs(decoded(store, 0).astype(int) - shown).mean() < 2
    (tmp_path / "p" / "2.gif").write_bytes(b"GIF89a" + bytes(100))
    with pytest.raises(InputError, match=r"2\.gif is damaged"):
        built(tmp_path / "p", tmp_path / "t.lmdb", transcode=True)

"""Pixels of each class, against counts made one class at a time, and the weights of median-frequency balancing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from parsing_stores import CLASSES, IGNORE, make_parsing_store, write_store
from pictures import jpeg, make_store, photo
from PIL import Image

from sdali.pipelines import BadSampleError, ImageStore, InputError
from sdali.pipelines.build.build import build
from sdali.pipelines.sources.masks import images_and_masks
from sdali.pipelines.store.measure import ClassFrequencies, class_frequencies


@pytest.mark.parametrize("workers", [1, 3])
def test_pixels_are_those_that_numpy_finds(tmp_path: Path, workers: int) -> None:
    """Of each class over the store, and of all images that have it, ignored pixels too."""
    store = make_parsing_store(tmp_path / "s.lmdb", 30)
    masks = [store.mask(index) for index in range(len(store))]
    found = class_frequencies(store, workers=workers)
    assert found.pixels.dtype == found.where_present.dtype == np.int64
    assert found.pixels.tolist() == [sum(int((mask == k).sum()) for mask in masks) for k in range(CLASSES)]
    assert found.where_present.tolist() == [sum(mask.size for mask in masks if k in mask) for k in range(CLASSES)]
    assert sum(int((mask == IGNORE).sum()) for mask in masks) > 0


def test_camvid_is_counted_as_pillow_reads_it(tmp_path: Path, real_data: Path) -> None:
    """The files themselves, by another decoder."""
    folder, path = real_data / "camvid", tmp_path / "s.lmdb"
    build(images_and_masks(folder, preset="camvid", subset="val"), path)
    masks = np.stack([np.asarray(Image.open(file)) for file in sorted((folder / "valannot").glob("*.png"))])
    found = class_frequencies(ImageStore(path))
    assert found.pixels.tolist() == [int((masks == k).sum()) for k in range(11)]
    present = [(masks == k).any((1, 2)).sum() * masks[0].size for k in range(11)]
    assert found.where_present.tolist() == present


def test_the_median_class_weighs_one() -> None:
    """Frequencies 0.5, 0.1, 0.02 and a class that never occurs: worked out by hand."""
    frequencies = ClassFrequencies(np.array([50, 10, 0, 1]), np.array([100, 100, 0, 50]))
    np.testing.assert_allclose(frequencies.median_frequency_weights(), [0.2, 1, 0, 5])
    nothing = ClassFrequencies(np.zeros(3, np.int64), np.zeros(3, np.int64))
    assert nothing.median_frequency_weights().tolist() == [0, 0, 0]


def test_what_cannot_be_counted_is_named(tmp_path: Path) -> None:
    """A store of classes of images, and a value of no class, as a store made by hand may hold."""
    with pytest.raises(InputError, match="has no masks of classes; build it with sdali build --format masks"):
        class_frequencies(make_store(tmp_path / "images.lmdb", 4))
    masks = [np.full((20, 20), value, np.uint8) for value in (0, IGNORE, CLASSES)]
    store = write_store(tmp_path / "s.lmdb", [(jpeg(photo(0, 20, 20)), mask) for mask in masks])
    with pytest.raises(BadSampleError, match=r"sample 2 \(2\.jpg\) .*the value 5, none of the 5 classes"):
        class_frequencies(store)

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pictures import jpeg, make_store, photo

from sdali.benchmarks.costs.miss_rate import miss_rate, missing
from sdali.pipelines import ImageStore, InputError
from sdali.pipelines.store.writer import StoreWriter


@given(st.integers(0, 10**6))
@example(8150)  # a window of which exactly 5 % are object
def test_misses_equal_a_count_of_pixels(seed: int) -> None:
    """The summed-area table gives what counting each window's pixels gives."""
    rng = np.random.default_rng(seed)
    mask = cv2.resize(rng.random((4, 4)), (50, 40), interpolation=cv2.INTER_NEAREST) > 0.8
    height, width = rng.integers(1, 41, 20), rng.integers(1, 51, 20)
    y, x = (rng.random(20) * (41 - height)).astype(int), (rng.random(20) * (51 - width)).astype(int)
    windows = np.stack([y, x, height, width], 1)
    expected = []
    for top, left, h, w in windows:
        inside = mask[top : top + h, left : left + w]
        expected.append(10 * inside.sum() < mask.sum() and 20 * inside.sum() < inside.size)
    np.testing.assert_array_equal(missing(mask, windows), expected)


def store_with_objects(path: Path) -> ImageStore:
    """Thirty images with a small square object, one without any."""
    rng = np.random.default_rng(0)
    with StoreWriter(path, classes=["a"], provenance={}, has_masks=True) as writer:
        for index in range(31):
            mask = np.zeros((100, 100), np.uint8)
            y, x = rng.integers(0, 80, 2)
            if index:
                mask[y : y + 20, x : x + 20] = 3
            encoded = cv2.imencode(".png", mask)[1].tobytes()
            writer.add(jpeg(photo(index, 100, 100)), label=0, height=100, width=100, name=str(index), mask=encoded)
    return ImageStore(path)


def test_a_perfect_map_misses_less(tmp_path: Path) -> None:
    """With the masks themselves as maps hardly a window misses; images without an object do not count."""
    store = store_with_objects(tmp_path / "s.lmdb")
    masks = [(store.mask(index) > 0).astype(np.uint8) for index in range(31)]
    rates = miss_rate(store, heatmaps=masks, epochs=10)
    assert rates["images"] == 30 and rates["windows"] == 300
    assert rates["plain"] > 0.2 and rates["sda"] < 0.02
    assert miss_rate(store, epochs=10) == {"plain": rates["plain"], "windows": 300, "images": 30}


def test_foreground_values_are_chosen(tmp_path: Path) -> None:
    store = store_with_objects(tmp_path / "s.lmdb")
    assert miss_rate(store, foreground=[3], epochs=2)["images"] == 30
    with pytest.raises(InputError, match="shows an object"):
        miss_rate(store, foreground=[1], epochs=2)


def test_a_store_without_masks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no masks to measure misses with"):
        miss_rate(make_store(tmp_path / "s.lmdb", 5))


@pytest.mark.slow
def test_real_pets(real_data: Path, tmp_path: Path) -> None:
    """On pets, trimap-guided windows miss under 0.2 % of the time, plain ones several times as often."""
    from sdali.cams.annotation_maps import mask_heatmap
    from sdali.pipelines.build.build import build
    from sdali.pipelines.io.progress import silent
    from sdali.pipelines.sources.folder import folder

    source = folder(real_data / "pets" / "images", masks=real_data / "pets" / "trimaps")
    build(source, tmp_path / "pets.lmdb", transcode=True, progress=silent)
    store = ImageStore(tmp_path / "pets.lmdb")
    maps = [mask_heatmap(store.mask(index), (1, 3)) for index in range(len(store))]
    rates = miss_rate(store, heatmaps=maps, foreground=(1, 3), epochs=20)
    assert rates["images"] == len(store) - 1  # Abyssinian_34 shows no pet
    assert 0.01 < rates["plain"] < 0.02 and rates["sda"] < 0.002

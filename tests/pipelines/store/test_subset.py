"""A subset of a store reads as a store built from those samples alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from loading import Blobs, make
from pictures import make_store

from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines import InputError
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.subset import Subset
from sdali.pipelines.store.writer import StoreWriter

CHOSEN = [4, 1, 4]


def build(path: Path, chosen: list[int]) -> ImageStore:
    with StoreWriter(path, classes=("a", "b"), has_masks=True, has_boxes=True) as writer:
        for i in chosen:
            mask = cv2.imencode(".png", np.full((3 + i, 4), i, np.uint8))[1].tobytes() if i % 2 == 0 else None
            boxes = Boxes(np.full((i, 4), i, np.float32), np.full(i, i % 2), np.full(i, i == 1))
            writer.add(b"%d" % i * 9, label=i % 2, height=3 + i, width=4, name=f"n/{i}", mask=mask, boxes=boxes)
    return ImageStore(path)


@pytest.mark.parametrize("pickled", [False, True])
def test_subset_reads_as_a_store_of_its_samples(tmp_path: Path, pickled: bool) -> None:
    """Columns, names, bytes, masks and boxes are those of a store of the chosen samples, repeats included."""
    subset = Subset(build(tmp_path / "whole.lmdb", list(range(6))), CHOSEN)
    if pickled:
        subset = pickle.loads(pickle.dumps(subset))
    alone = build(tmp_path / "alone.lmdb", CHOSEN)
    assert len(subset) == len(alone) and subset.classes == alone.classes
    for column in ("labels", "sizes", "byte_sizes"):
        assert np.array_equal(getattr(subset, column), getattr(alone, column))
    assert list(subset.names) == list(alone.names) and subset.names[1:] == alone.names[1:]
    assert subset.read([2, 1]) == alone.read([2, 1])
    for index in range(len(CHOSEN)):
        assert subset.has_mask(index) == alone.has_mask(index)
        assert subset.boxes(index).areas is alone.boxes(index).areas is None
        parts = zip(subset.boxes(index)[:3], alone.boxes(index)[:3], strict=True)
        assert all(np.array_equal(a, b) for a, b in parts)
    assert np.array_equal(subset.mask(2), alone.mask(2))
    assert all(np.array_equal(a, b) for a, b in zip(subset.objects(), alone.objects(), strict=True))
    assert subset.objects().images.tolist() == [0] * 4 + [1] + [2] * 4


def test_a_subset_is_trained_on_with_its_own_heatmaps_of_the_whole_store(tmp_path: Path) -> None:
    """Samples, pixels and windows are those of the whole store's images, guided by the whole store's maps file."""
    store, blobs = make_store(tmp_path / "whole.lmdb", 40), Blobs(40)
    with HeatmapWriter(
        tmp_path / "maps.lmdb", count=40, images_digest=store.digest, method="m", model_digest=""
    ) as file:
        file.put(range(40), [blobs[index] for index in range(40)])
        file.finish()
    chosen = np.arange(5, 40, 2)
    subset = Subset(store, chosen)
    from_file, by_hand = (
        make(subset, 6, heatmaps=maps) for maps in (tmp_path / "maps.lmdb", [blobs[i] for i in chosen.tolist()])
    )
    for one, other in zip(from_file, by_hand, strict=True):
        assert one["label"].tolist() == store.labels[chosen[one["index"]]].tolist()
        assert one["plan"].tobytes() == other["plan"].tobytes() and one["plan"]["guided"].all()
        assert np.array_equal(one["image"], other["image"])
    with pytest.raises(InputError, match="were made from other images"):
        make(Subset(build(tmp_path / "other.lmdb", list(range(6))), range(5)), 2, heatmaps=tmp_path / "maps.lmdb")


def test_the_state_of_a_subset_is_no_other_stores(tmp_path: Path) -> None:
    """Nor of another subset, for a position says nothing there; of an equal subset it is."""
    store = make_store(tmp_path / "whole.lmdb", 40)
    first = Subset(store, range(20))
    state = make(first, 4, heatmaps=None).state_dict()
    make(Subset(store, list(range(20))), 4, heatmaps=None).load_state_dict(state)
    for other in (store, Subset(store, range(20, 40)), Subset(first, range(19))):
        with pytest.raises(InputError, match="the state has store"):
            make(other, 4, heatmaps=None).load_state_dict(state)


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 6], "has no sample 6: its indices are 0 to 5"),
        ([-1], "has no sample -1"),
        ([0.5], "indices of .* are a list of integers, not float64"),
        ([True, False], r"indices of .* are a list of integers, not bool \[2\], or a mask of 6 booleans"),
        (5, "indices of .* are a list or array of integers, not int"),
        ([[0], [1, 2]], "indices of .* are a list or array of integers, not list"),
        ([[0]], "indices of .* are a list of integers"),
    ],
)
def test_indices_outside_are_refused(tmp_path: Path, indices: list, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Subset(build(tmp_path / "whole.lmdb", list(range(6))), indices)

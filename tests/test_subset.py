"""A subset of a store reads as a store built from those samples alone."""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from sdali.cams.subset import Subset
from sdali.pipelines.boxes import Boxes
from sdali.pipelines.store_read import ImageStore
from sdali.pipelines.store_write import StoreWriter

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
        assert all(np.array_equal(a, b) for a, b in zip(subset.boxes(index), alone.boxes(index), strict=True))
    assert np.array_equal(subset.mask(2), alone.mask(2))
    assert all(np.array_equal(a, b) for a, b in zip(subset.objects(), alone.objects(), strict=True))
    assert subset.objects().images.tolist() == [0] * 4 + [1] + [2] * 4

"""The picture of predictions: wrong pixels are coloured and no others, whatever is ignored."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from parsing_stores import CLASSES, make_parsing_store

from sdali.cams.drawing.mask_colours import palette
from sdali.pipelines import InputError
from sdali.trainers.core.pictures import shown_samples
from sdali.trainers.parsing.pictures import HEIGHT, save_parsing_picture


def test_wrong_pixels_are_coloured_and_no_others(tmp_path: Path) -> None:
    """The share of that colour in the last column is that of wrong pixels; none where all are right."""
    store = make_parsing_store(tmp_path / "s.lmdb", 3, size=(40, 60))
    shares = []
    for name, shift in (("right", 0), ("wrong", 1)):
        predictions = []
        for index in range(len(store)):
            mask = store.mask(index)
            half = np.where(np.arange(60) < 30, shift, 0)[None]
            predictions.append(((np.minimum(mask, CLASSES - 1) + half) % CLASSES).astype(np.uint8))
        save_parsing_picture(tmp_path / f"{name}.png", store, predictions)
        sheet = np.asarray(cv2.imread(str(tmp_path / f"{name}.png")))[:, :, ::-1]
        last = sheet[: 3 * HEIGHT + 200, -32 - 300 : -32]
        shares.append((last == palette(CLASSES + 1)[CLASSES]).all(2).sum() / (3 * HEIGHT * 300))
    labelled = np.mean([(store.mask(index)[:, :30] < CLASSES).sum() / 2400 for index in range(3)])
    assert shares[0] == 0 and shares[1] == pytest.approx(labelled, abs=0.03)


def test_samples_are_spread_and_errors_are_one_sentence(tmp_path: Path) -> None:
    store = make_parsing_store(tmp_path / "s.lmdb", 40)
    assert shown_samples(store).tolist() == [0, 8, 16, 23, 31, 39]
    with pytest.raises(InputError, match=r"cannot write .*none/p\.png"):
        save_parsing_picture(tmp_path / "none/p.png", store, [store.mask(0) % CLASSES])

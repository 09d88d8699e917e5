"""The sheet of a store of objects: outlines where the boxes are, in their classes' colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import refusal_of, report_of
from detection_stores import make_detection_store
from PIL import Image

from sdali.cams.drawing.mask_colours import palette
from sdali.cams.previews.detection import boxes_drawn
from sdali.pipelines.store.boxes import Boxes


def test_outlines_lie_inside_the_boxes_edges() -> None:
    """The outermost pixels of each box have its class's colour, beside and within them the picture is untouched."""
    picture = np.full((40, 60, 3), 100, np.uint8)
    boxes = Boxes(np.array([[5.0, 6, 30, 20], [40, 10, 60, 40]]), np.array([1, 8]), np.array([False, True]))
    drawn = boxes_drawn(picture, boxes)
    for (x0, y0, x1, y1), label, share in (((5, 6, 30, 20), 1, 1), ((40, 10, 60, 40), 8, 128 / 255)):
        edge = np.concatenate([drawn[y0, x0:x1], drawn[y1 - 1, x0:x1], drawn[y0:y1, x0], drawn[y0:y1, x1 - 1]])
        want = share * palette(9)[label] + (1 - share) * 100
        assert np.abs(edge - want).max() <= 2
        assert (drawn[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4] == 100).all()
    outside = np.ones((40, 60), bool)
    outside[6:20, 5:30] = outside[10:40, 40:60] = False
    assert (drawn[outside] == 100).all()


@pytest.mark.parametrize("count", [3, 100])
def test_the_command_draws_stores_of_objects(tmp_path: Path, capsys, count: int) -> None:
    """One row an image, as many as asked or there are; heatmaps have no place in it."""
    make_detection_store(tmp_path / "s.lmdb", 6)
    words = ("preview", tmp_path / "s.lmdb", tmp_path / "p.png", "--count", count, "--size", 40)
    report = report_of(capsys, *words)
    assert len(report["images"]) == min(count, 6)
    with Image.open(tmp_path / "p.png") as sheet:
        assert sheet.size == (report["width"], report["height"])
        below = np.asarray(sheet)[-60:]  # the legend
    assert all((below == palette(4)[label]).all(2).any() for label in range(4)) == (count == 100)
    assert "must be left out" in refusal_of(capsys, *words, "--overwrite", "--cams", tmp_path / "c.lmdb")

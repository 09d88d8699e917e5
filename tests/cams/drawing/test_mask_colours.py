"""Colours of classes: distinct by another measure and another model of colour blindness, stable, true to the mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sdali.cams.drawing.mask_colours import IGNORED, coloured, legend, mask_overlay, palette

# Vienot, Brettel and Mollon 1999: what a protanope and a deuteranope see, of linear RGB.
DICHROMATS = {
    "normal": np.eye(3),
    "protanope": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
    "deuteranope": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
}


def differences(colours: np.ndarray, vision: str) -> np.ndarray:
    """float [pairs]: CIE76 colour differences, by OpenCV, of each two colours as that vision sees them."""
    linear = (colours / 255) ** 2.2 @ np.array(DICHROMATS[vision]).T
    lab = cv2.cvtColor((linear.clip(0, 1) ** (1 / 2.2)).astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]
    return np.linalg.norm(lab[:, None] - lab[None], axis=2)[np.triu_indices(len(colours), 1)]


@pytest.mark.parametrize(
    ("classes", "vision", "least"),
    [(11, "normal", 25), (11, "protanope", 10), (11, "deuteranope", 10), (30, "normal", 10), (150, "normal", 2.3)],
)
def test_classes_are_told_apart(classes: int, vision: str, least: float) -> None:
    """2.3 is what an eye just notices; the colours of few classes are far beyond it, also for the colour-blind."""
    assert differences(palette(classes), vision).min() > least


def test_colours_stay_when_classes_are_added() -> None:
    """Class k is the same colour among 5, 11 and 255; no two are equal, and none is grey as ignored pixels are."""
    assert np.array_equal(palette(255)[:11], palette(11)) and np.array_equal(palette(11)[:5], palette(5))
    assert len(np.unique(palette(255), axis=0)) == 255
    assert (np.ptp(palette(255).astype(int), axis=1) > 20).all()


def test_a_mask_has_the_colours_of_its_classes() -> None:
    """Pixel by pixel; every value from the number of classes on is ignored."""
    mask = np.array([[0, 3], [4, 255]], np.uint8)
    assert coloured(mask, 4).tolist() == [[palette(4)[0].tolist(), palette(4)[3].tolist()], [[*IGNORED], [*IGNORED]]]


def test_an_overlay_shows_picture_and_mask() -> None:
    """Black and white stay apart under every colour; colours follow the mask, enlarged without blending."""
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:, 30:] = 255
    mask = np.array([[0], [1]], np.uint8)
    drawn = mask_overlay(picture, mask, 2).astype(int)
    assert (drawn[:, 30:] - drawn[:, :30] > 90).all()
    dark = drawn[:, :30]
    assert (dark[:20] == dark[0, 0]).all() and (dark[20:] == dark[39, 0]).all() and (dark[0, 0] != dark[39, 0]).any()
    hatched = mask_overlay(picture, np.full((40, 60), 9, np.uint8), 2)
    assert 0.2 < (hatched == 255).all(2).mean() < 0.5


def test_a_legend_names_what_is_shown() -> None:
    """The colours of the shown classes and no others, in as many lines as the width asks for."""
    names = [f"class {k}" for k in range(20)]
    wide, narrow = (np.asarray(legend(names, [2, 5, 7], width)) for width in (900, 200))
    for picture in (wide, narrow):
        found = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert [k for k in range(20) if tuple(palette(20)[k].tolist()) in found] == [2, 5, 7]
        assert IGNORED in found
    assert wide.shape[1] == 900 and narrow.shape[1] == 200 and narrow.shape[0] > 2 * wide.shape[0] - 40

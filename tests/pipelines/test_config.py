"""Augmentations as plain data: what JSON makes of them is taken back, and what is no number is named."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from sdali.pipelines import (
    Augmentation,
    Colour,
    Crop,
    DetectionAugmentation,
    InputError,
    IouCrop,
    ParsingAugmentation,
    ParsingCrop,
)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(crop=Crop(area=(0.2, 0.9), law="torchvision"), interpolations=("linear",), flip=0),
        ParsingAugmentation(crop=ParsingCrop(shorter_side=300, scale=(0.5, 1)), colour=Colour(contrast=0)),
        DetectionAugmentation(crop=IouCrop(probability=0.5, least_ious=(0.1, 0.9))),
    ],
)
def test_an_augmentation_equals_what_json_makes_of_it(augmentation) -> None:
    kind = type(augmentation)
    again = kind(**json.loads(json.dumps(asdict(augmentation))))
    assert again == augmentation and hash(again) == hash(augmentation)


def test_numbers_may_be_of_numpy() -> None:
    numbers: list = [np.array([0.5, 1.0]), [0.5, 1.0], (np.float32(0.5), 1)]
    assert all(Crop(area=area) == Crop(area=(0.5, 1.0)) == replace(Crop(), area=area) for area in numbers)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Crop, {"gamma": "1"}, "gamma of Crop must be such as 1.0, got '1'"),
        (Crop, {"area": 0.5}, r"area of Crop must be such as \(0.08, 1.0\), got 0.5"),
        (Crop, {"aspect": ("1", "2")}, "aspect of Crop must be such as "),
        (Colour, {"contrast": True}, "contrast of Colour must be such as 0.4, got True"),
        (Augmentation, {"crop": None}, "crop of Augmentation must be Crop, got None"),
        (Augmentation, {"crop": IouCrop()}, "crop of Augmentation must be Crop, got IouCrop"),
        (Augmentation, {"flip": None}, "flip of Augmentation must be such as 0.5, got None"),
        (ParsingCrop, {"scale": 2}, "scale of ParsingCrop must be such as "),
        (ParsingCrop, {"shorter_side": "9"}, "crop shorter_side must be at least 1 px, got '9'"),
    ],
)
def test_what_is_no_number_is_named(kind, options: dict, message: str) -> None:
    """By one sentence, not by a comparison that fails."""
    with pytest.raises(InputError, match=message):
        kind(**options)

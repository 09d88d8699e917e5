"""Lots of pictures for `scripts/robustness faults images`: damaged ones strewn among sound ones."""

from __future__ import annotations

import io
import warnings
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from robustness.image_damage import Picture, damage_picture

from sdali.pipelines.images.header import probe

SAMPLES = 192


class Sample(NamedTuple):
    """One of a lot: `damage` is its kind or empty; `sound`, what it was made of; `size` (height, width) as recorded."""

    name: str
    data: bytes
    sound: bytes
    size: tuple[int, int]
    damage: str


def lot_of(pictures: list[Picture], first: int, damaged: int, seed: int) -> list[Sample]:
    """Sound pictures, and among them, at random places, `damaged` ones numbered from `first`.

    Half of those that claim to be huge are recorded so, as a stranger would.
    """
    rng = np.random.default_rng([seed, first])
    places = dict(zip(rng.permutation(SAMPLES)[:damaged].tolist(), range(first, first + damaged), strict=True))
    samples = []
    for index in range(SAMPLES):
        ending, data = picture = pictures[int(rng.integers(len(pictures)))]
        damage, made = "", data
        if index in places:
            damage, made = damage_picture(picture, places[index], seed)
        lies = damage == "huge size" and rng.random() < 0.5
        size = (30_000, 30_000) if lies else size_of(data)
        samples.append(Sample(f"a/{index:03d}{ending}", made, data, size, damage))
    return samples


def size_of(data: bytes) -> tuple[int, int]:
    """Height and width of a sound picture, as it is seen."""
    header = probe(data)
    return header.height, header.width


def is_image(data: bytes) -> bool:
    """Pillow reads its header, or else OpenCV all of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Image.open(io.BytesIO(data)).close()
        except Image.DecompressionBombError:
            return True
        except Exception:  # plugins raise whatever their parsers run into
            return bool(data) and cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    return True

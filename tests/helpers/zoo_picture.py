"""The picture that every file of the zoo shows, and what its makers share."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

HEIGHT = WIDTH = 44  # no multiple of 8; square, so that loaders hand out whole pictures as they are
PICTURE: np.ndarray = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
)
GREY = PICTURE[..., 1].astype(np.uint8)


class Specimen(NamedTuple):
    """A file; `pixels`: uint8 [H, W, 3], RGB, upright, of what it shows where its maker knows, else as Pillow reads."""

    data: bytes
    pixels: np.ndarray | None = None


def grey(values: np.ndarray) -> np.ndarray:
    """[H, W] as RGB."""
    return np.repeat(values[..., None], 3, 2).astype(np.uint8)


def quantised(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 values with that many bits (uint16), and what these show with 8 bits."""
    most = (1 << bits) - 1
    samples = np.round(values.astype(np.float64) * most / 255).astype(np.uint16)
    return samples, np.round(samples * (255 / most)).astype(np.uint8)


def packed(samples: np.ndarray, bits: int, order: str = ">") -> bytes:
    """Rows [H, n] of samples of 1, 2, 4, 8 or 16 bits, each row ending at a whole byte."""
    if bits == 16:
        return samples.astype(order + "u2").tobytes()
    if bits == 8:
        return samples.astype(np.uint8).tobytes()
    places = np.unpackbits(samples.astype(np.uint8)[..., None], axis=2)[..., 8 - bits :]
    return np.packbits(places.reshape(len(samples), -1), axis=1).tobytes()


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """What a file of these stored pixels shows with that EXIF orientation."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    vertical, horizontal = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def exif(
    orientation: int, order: str = "<", prefix: bytes = b"Exif\0\0", kind: int = 3, entries: int = 1, count: int = 1
) -> bytes:
    """An EXIF block that states an orientation, as a field of that type."""
    value = {1: struct.pack("BBH", orientation, 0, 0), 3: struct.pack(order + "HH", orientation, 0)}
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, entries)
    field = struct.pack(order + "HHI", 274, kind, count)
    return prefix + head + field + value.get(kind, struct.pack(order + "I", orientation)) + bytes(4)


def save(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

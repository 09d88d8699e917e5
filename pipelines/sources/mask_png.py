"""Masks as PNG files of class indices: palettes and odd bit depths resolved, anything else refused with a reason."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from ..images.header import MAX_PIXELS
from ..images.jpeg_png import PNG_SIGNATURE, png_header
from ..store.boxes import Boxes, none_found

_GREY, _PALETTE = 0, 3  # PNG colour types
_GREY_STEP = {1: 255, 2: 85, 4: 17, 8: 1}  # by what Pillow multiplies grey levels of 1, 2, 4 and 8 bits


def as_index_png(data: bytes) -> bytes:
    """A PNG of class indices as single-channel uint8 PNG: as it came, or with palette and odd depths resolved.

    Raises InputError with a reason for what is no whole PNG, or has colours instead of indices.
    """
    if not data.startswith(PNG_SIGNATURE):
        raise InputError("is not a PNG")
    header = png_header(data)
    if header.height * header.width > MAX_PIXELS:
        raise InputError(f"has {header.height:,} x {header.width:,} px, more than the {MAX_PIXELS:,} allowed")
    if header.orientation != 1:
        raise InputError("has an EXIF orientation: turn its pixels, and save it without EXIF")
    bits, colour = struct.unpack_from("BB", data, 24)
    if (bits, colour) == (8, _GREY):
        return data
    if colour not in (_GREY, _PALETTE):
        raise InputError("has colours, not class indices: convert it to one channel, or to a palette")
    indices = _indices(data, bits, colour)
    if indices.max() > 255:
        raise InputError(f"has the class index {indices.max()}, above 255")
    return encode_mask(indices.astype(np.uint8))


def _indices(data: bytes, bits: int, colour: int) -> np.ndarray:
    from PIL import PngImagePlugin

    try:
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
            pixels = np.asarray(image).astype(np.int64)
            if image.mode == "1":
                return pixels
    except Exception as error:  # Pillow raises whatever its parsers run into
        raise InputError(f"cannot be decoded ({error})") from None
    return pixels // _GREY_STEP.get(bits, 1) if colour == _GREY else pixels


def box_around(data: bytes, values: Sequence[int], label: int) -> Boxes:
    """The one box around all pixels of these values in a single-channel uint8 PNG; none where there is no such pixel.

    Raises InputError with a reason for what cannot be decoded.
    """
    wanted = np.isin(decode_mask(data), values)
    rows, columns = (np.flatnonzero(wanted.any(axis)) for axis in (1, 0))
    if not rows.size:
        return none_found()
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return Boxes(np.array([edges], np.float32), np.array([label]), np.zeros(1, bool))


def decode_mask(data: bytes) -> np.ndarray:
    """A single-channel uint8 PNG as uint8 [H, W]; raises InputError with a reason for what cannot be decoded."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise InputError("cannot be decoded as one channel of 8 bits")
    return np.asarray(pixels, np.uint8)


def encode_mask(mask: np.ndarray) -> bytes:
    """uint8 [H, W] as PNG."""
    import cv2

    return cv2.imencode(".png", mask)[1].tobytes()

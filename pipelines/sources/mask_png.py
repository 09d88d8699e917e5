"""Masks as PNG files of class indices: found by name, palettes resolved to indices, checked for what they are."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..images.chunks import png_header
from ..images.parts import MAX_PIXELS
from ..store.boxes import Boxes, none_found
from .side_files import FolderBeside
from .source import read_file

_GREY, _PALETTE = 0, 3  # PNG colour types
_GREY_STEP = {1: 255, 2: 85, 4: 17, 8: 1}  # by what Pillow multiplies grey levels of 1, 2, 4 and 8 bits


class MaskFolder(FolderBeside):
    """All PNGs below a folder; an image a/b.jpg takes a/b.png, else the only b.png anywhere below."""

    def __init__(
        self,
        root: Path,
        shared_stems: frozenset[str] = frozenset(),
        converted: Callable[[bytes], bytes] = lambda data: data,
    ) -> None:
        """`shared_stems`: see FolderBeside. `converted`: what is done to each index PNG."""
        purpose = "has a PNG of class indices for each image"
        super().__init__(root, shared_stems, ending=".png", what="mask", purpose=purpose)
        self._converted = converted

    def load(self, name: str) -> bytes:
        """Single-channel uint8 PNG for image `name`; raises InputError with a reason that names the mask's file."""
        path = self.found(name)
        try:
            return self._converted(as_index_png(read_file(path)))
        except InputError as error:
            raise InputError(f"has the mask {path}, which {error}") from None
        except OSError as error:
            raise InputError(f"has the mask {path}, which cannot be read: {error.strerror or error}") from None


def as_index_png(data: bytes) -> bytes:
    """A PNG of class indices as single-channel uint8 PNG: as it came, or with palette and odd depths resolved.

    Raises InputError with a reason for what is no whole PNG, or has colours instead of indices.
    """
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise InputError("is not a PNG")
    header = png_header(data)
    if header.height * header.width > MAX_PIXELS:
        raise InputError(f"has {header.height:,} x {header.width:,} px, more than the {MAX_PIXELS:,} allowed")
    if header.orientation != 1:
        raise InputError("is to be turned by its EXIF orientation: turn its pixels, and save it without")
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
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError("cannot be decoded")
    wanted = np.isin(pixels, values)
    rows, columns = (np.flatnonzero(wanted.any(axis)) for axis in (1, 0))
    if not rows.size:
        return none_found()
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return Boxes(np.array([edges], np.float32), np.array([label]), np.zeros(1, bool))


def encode_mask(mask: np.ndarray) -> bytes:
    """uint8 [H, W] as PNG."""
    import cv2

    return cv2.imencode(".png", mask)[1].tobytes()

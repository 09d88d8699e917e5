"""The hot path of a build: size, orientation and completeness of a JPEG from its segments, in 3 us."""

from __future__ import annotations

import struct

from ..errors import InputError
from .parts import ImageHeader, NeedsTranscoding, exif_orientation, oriented

_START_OF_SCAN, _END = 0xDA, b"\xff\xd9"
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive, the last two arithmetic
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})  # lossless, hierarchical


def jpeg_header(data: bytes | memoryview) -> ImageHeader:
    """Header of a JPEG (ITU-T T.81, annex B); the caller has seen FF D8.

    The last EXIF segment counts, as in DALI. The end marker must stand after the start of scan: one inside an EXIF
    thumbnail does not count, what follows the first (padding, a second picture) does not matter.
    Raises InputError for a truncated or damaged file, NeedsTranscoding for a frame that libjpeg-turbo cannot decode.
    """
    size: tuple[int, int] | None = None
    orientation, position = 1, 2
    try:
        while True:
            marker, position = _marker(data, position)
            if marker in _ALONE:
                continue
            (length,) = struct.unpack_from(">H", data, position)
            if marker == _START_OF_SCAN:
                break
            if marker in _DECODED_FRAMES:
                size = _frame_size(data, position)
            elif marker in _OTHER_FRAMES:
                raise NeedsTranscoding("is a lossless or hierarchical JPEG, which DALI does not decode")
            elif marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
                orientation = exif_orientation(data[position + 8 : position + length])
            position += length
    except (IndexError, struct.error):
        raise InputError("is truncated: the JPEG ends within its header") from None
    if size is None:
        raise InputError("is damaged: the JPEG has no frame header")
    if data[-2:] != _END and bytes(data).find(_END, position) < 0:
        raise InputError("is truncated: the JPEG has no end marker")
    return oriented("JPEG", *size, orientation)


def _marker(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The marker at `position`, after fill bytes, and where its segment begins."""
    if data[position] != 0xFF:
        raise InputError("is damaged: the JPEG has something else where a marker should stand")
    while data[position] == 0xFF:
        position += 1
    return data[position], position + 1


def _frame_size(data: bytes | memoryview, position: int) -> tuple[int, int]:
    bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
    if bits != 8:
        raise NeedsTranscoding(f"is a JPEG of {bits} bits, which DALI does not decode")
    if not height or not width or components not in (1, 3, 4):
        raise InputError(f"is damaged: the JPEG claims {height} x {width} px with {components} components")
    return height, width

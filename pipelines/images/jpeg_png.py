"""JPEG and PNG: size, orientation and completeness from the bytes of the file, without decoding.

Nearly all images of a build are of these formats, so both are read here: a JPEG in microseconds, where Pillow takes
tens of them and does not notice that a file is cut off.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ..errors import InputError

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each colour type
_LOWER_CASE = ord("a")  # a PNG chunk whose name begins so is ancillary: decoders only warn of a damaged one
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that are no segments
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive, the last two arithmetic
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})  # lossless, hierarchical


class NeedsTranscoding(InputError):
    """A whole image in a form that DALI does not decode, or decodes wrongly; Pillow may still read it."""


@dataclass(frozen=True)
class ImageHeader:
    """The facts of a header: `format` ("JPEG", ...); `height`, `width` after EXIF orientation; `orientation` 1 to 8."""

    format: str
    height: int
    width: int
    orientation: int = 1


def oriented(format: str, height: int, width: int, orientation: int) -> ImageHeader:
    """The header of an image stored as height x width; orientations 5 to 8 transpose it (EXIF 2.32, tag 274)."""
    if orientation >= 5:
        height, width = width, height
    return ImageHeader(format, height, width, orientation)


def exif_orientation(tiff: bytes | memoryview) -> int:
    """Orientation in a TIFF-structured EXIF block, 1 where it states none.

    Read as DALI 2.4 reads it, since sizes must agree with its decoder: whatever is not "II" is big-endian, a directory
    must be complete, and the value is the first 16 bits of the field, whatever type the field claims.
    """
    head = bytes(tiff[:4])
    order = "<" if head == b"II*\0" else ">" if head[2:] == b"\0*" and head[:2] != b"II" else None
    if order is None or len(tiff) < 10:
        return 1
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, start)
    entries = tiff[start + 2 : start + 2 + 12 * count]
    if len(entries) < 12 * count:
        return 1
    for tag, value in struct.iter_unpack(order + "H6xH2x", entries):
        if tag == 274:
            return value if 1 <= value <= 8 else 1
    return 1


def jpeg_header(data: bytes | memoryview) -> ImageHeader:
    """Header of a JPEG (ITU-T T.81, annex B); the caller has seen FF D8.

    The last EXIF segment counts, as in DALI. The end marker must come after the start of scan: one inside an EXIF
    thumbnail does not count. What follows the first end marker (padding, a second picture) does not matter.
    Raises InputError for a truncated or damaged file, NeedsTranscoding for a frame that libjpeg-turbo cannot decode.
    """
    size: tuple[int, int] | None = None
    orientation, position = 1, 2
    try:
        while True:
            marker, position = _marker(data, position)
            if marker in _WITHOUT_LENGTH:
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
    if data[-2:] != _END_OF_IMAGE and bytes(data).find(_END_OF_IMAGE, position) < 0:
        raise InputError("is truncated: the JPEG has no end marker")
    return oriented("JPEG", *size, orientation)


def _marker(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The marker at `position`, after fill bytes, and where its segment begins."""
    if data[position] != 0xFF:
        raise InputError("is damaged: the JPEG has something else where a marker should be")
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


def png_header(data: bytes) -> ImageHeader:
    """Header of a PNG (RFC 2083); EXIF counts only in an eXIf chunk, before or after the pixels, as in DALI."""
    orientation, position, kind = 1, 8, b""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise InputError("is truncated: the PNG ends within its header")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if bits not in _PNG_BITS.get(colour, ()):
        raise InputError(f"is damaged: the PNG claims colour type {colour} with {bits} bits, which PNG does not have")
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position) if position + 8 <= len(data) else (0, b"")
        if not kind or position + 12 + length > len(data):
            raise InputError("is truncated: the PNG has no end chunk")
        end = position + 8 + length  # where the CRC32 of name and content stands
        checked, expected = memoryview(data)[position + 4 : end], int.from_bytes(data[end : end + 4], "big")
        if kind[0] < _LOWER_CASE and zlib.crc32(checked) != expected:
            raise InputError(f"is damaged: the CRC of the PNG's {kind.decode('latin-1')} chunk is wrong")
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : end])
        position = end + 4
    return oriented("PNG", height, width, orientation)


def png_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Height and width that a PNG claims; None for anything else."""
    if len(data) < 24 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width

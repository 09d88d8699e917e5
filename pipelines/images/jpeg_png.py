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
_SHORT, _LONG = 3, 4  # types of TIFF fields
TIFF_MARKS = (b"II*\0", b"MM\0*")
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each colour type
_LOWER_CASE = ord("a")  # a PNG chunk whose name begins so is ancillary: decoders only warn of a damaged one
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})  # markers that are no segments
_DECODED_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # baseline, extended, progressive, the last two arithmetic
# Colour transforms of the Adobe segment by components. Without one, DALI takes the inks of CMYK for uninverted.
_ADOBE_TRANSFORMS = {1: frozenset(range(256)), 3: frozenset({0, 1}), 4: frozenset({0, 2})}
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})  # lossless, hierarchical


class NeedsTranscoding(InputError):
    """An image in a form on which decoders differ or fail; Pillow may still read it."""


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

    Raises NeedsTranscoding for one that is stated against the standard (EXIF 2.32: a sound directory, one number of 16
    bits): there DALI 2.4 reads the first 16 bits of any field, and takes any mark but "II" for big-endian, but no
    directory that is cut off, while others go by the type and by what is there.
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
    whole = len(entries) == 12 * count
    for tag, kind, value in struct.iter_unpack(order + "HH4xH2x", entries[: len(entries) // 12 * 12]):
        if tag == 274:
            if not whole or head not in TIFF_MARKS or not (kind == _SHORT or (kind == _LONG and order == "<")):
                raise NeedsTranscoding("has an EXIF orientation against the standard, which decoders do not read alike")
            return value if 1 <= value <= 8 else 1
    return 1


def jpeg_header(data: bytes | memoryview) -> ImageHeader:
    """Header of a JPEG (ITU-T T.81, annex B); the caller has seen FF D8.

    The end marker must come after the start of scan: one inside an EXIF
    thumbnail does not count. What follows the first end marker (padding, a second picture) does not matter.
    Raises InputError for a truncated or damaged file, NeedsTranscoding for a frame that libjpeg-turbo cannot decode.
    """
    size: tuple[int, int] | None = None
    orientation: int | None = None  # not seen yet
    position, components, transform = 2, 0, None
    try:
        while True:
            marker, position = _marker(data, position)
            if marker in _WITHOUT_LENGTH:
                continue
            (length,) = struct.unpack_from(">H", data, position)
            if marker == _START_OF_SCAN:
                break
            if marker in _DECODED_FRAMES:
                size, components = _frame(data, position)
            elif marker in _OTHER_FRAMES:
                raise NeedsTranscoding("is a lossless or hierarchical JPEG, which DALI does not decode")
            elif marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
                orientation = _the_same(orientation, exif_orientation(data[position + 8 : position + length]))
            elif marker == 0xEE and length >= 14 and data[position + 2 : position + 7] == b"Adobe":
                transform = data[position + 13]
            position += length
    except (IndexError, struct.error):
        raise InputError("is truncated: the JPEG ends within its header") from None
    if size is None:
        raise InputError("is damaged: the JPEG has no frame header")
    if (transform is not None or components == 4) and transform not in _ADOBE_TRANSFORMS[components]:
        raise NeedsTranscoding("is a JPEG whose Adobe segment is missing or of an unknown kind, so that colours differ")
    if data[-2:] != _END_OF_IMAGE and bytes(data).find(_END_OF_IMAGE, position) < 0:
        raise InputError("is truncated: the JPEG has no end marker")
    return oriented("JPEG", *size, orientation or 1)


def _the_same(before: int | None, now: int) -> int:
    """The orientation, unless an EXIF segment before had another: DALI 2.4 then gives pixels of no orientation."""
    if before is not None and before != now:
        raise NeedsTranscoding("has two EXIF blocks of different orientations, which decoders do not read alike")
    return now


def _marker(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """The marker at `position`, after fill bytes, and where its segment begins."""
    if data[position] != 0xFF:
        raise NeedsTranscoding("has something else where a marker of a JPEG should be, which DALI does not decode")
    while data[position] == 0xFF:
        position += 1
    return data[position], position + 1


def _frame(data: bytes | memoryview, position: int) -> tuple[tuple[int, int], int]:
    """Height and width, and the number of components."""
    bits, height, width, components = struct.unpack_from(">BHHB", data, position + 2)
    if bits != 8:
        raise NeedsTranscoding(f"is a JPEG of {bits} bits, which DALI does not decode")
    if not height or not width or components not in (1, 3, 4):
        raise InputError(f"is damaged: the JPEG claims {height} x {width} px with {components} components")
    return (height, width), components


def png_header(data: bytes) -> ImageHeader:
    """Header of a PNG (RFC 2083); EXIF counts only in an eXIf chunk, before or after the pixels, as in DALI."""
    orientation, position, kind = None, 8, b""
    if data[12:16] == b"CgBI":
        raise InputError("is a PNG in the form of iOS programs, which no decoder here reads: convert it")
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
            orientation = _the_same(orientation, _png_orientation(data[position + 8 : end]))
        position = end + 4
    return oriented("PNG", height, width, orientation or 1)


def _png_orientation(exif: bytes) -> int:
    """That of an eXIf chunk; where it begins as in a JPEG, Pillow reads it and DALI does not."""
    if exif.startswith(b"Exif\0\0") and exif_orientation(exif[6:]) != 1:
        raise NeedsTranscoding("has an EXIF orientation against the standard, which decoders do not read alike")
    return exif_orientation(exif)


def png_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Height and width that a PNG claims; None for anything else."""
    if len(data) < 24 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width

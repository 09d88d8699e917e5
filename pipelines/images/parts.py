"""What every header parser hands over, and the EXIF orientation they share."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..errors import InputError

MAX_PIXELS = (
    178_956_970  # where Pillow raises DecompressionBombError: a 24-bit picture of 512 MiB, twice its limit to warn
)


class NeedsTranscoding(InputError):
    """A whole image in a form that DALI does not decode, or decodes wrongly; Pillow may still read it."""


@dataclass(frozen=True)
class ImageHeader:
    """What the header says: `format` ("JPEG", ...); `height`, `width` after EXIF orientation; `orientation` 1 to 8."""

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
    """Orientation in a TIFF-structured EXIF block, 1 where it says none.

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

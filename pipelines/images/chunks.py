"""PNG, WebP and PNM: size, orientation and completeness from their own structure, without decoding."""

from __future__ import annotations

import re
import struct
import zlib

from ..errors import InputError
from .parts import ImageHeader, NeedsTranscoding, exif_orientation, oriented

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WEBP_EXIF_FLAG = 0x08
_PNG_BITS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # of each colour type
_VP8_START = b"\x9d\x01\x2a"
_LOWER_CASE = ord("a")  # a PNG chunk whose name begins so is ancillary: decoders only warn of a damaged one
_GAP = rb"(?:\s|#[^\n]*\n)+"
_PBM = re.compile(rb"P4" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")
_PGM_PPM = re.compile(rb"P([56])" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)" + _GAP + rb"(\d+)\s")


def png_header(data: bytes) -> ImageHeader:
    """Header of a PNG (RFC 2083); EXIF counts only in an eXIf chunk, before or after the pixels, as in DALI."""
    orientation, position, kind = 1, 8, b""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise InputError("is truncated: the PNG ends within its header")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if bits not in _PNG_BITS.get(colour, ()):
        raise InputError(f"is damaged: the PNG claims colour type {colour} with {bits} bits, which there is not")
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, position) if position + 8 <= len(data) else (0, b"")
        if not kind or position + 12 + length > len(data):
            raise InputError("is truncated: the PNG has no end chunk")
        if kind[0] < _LOWER_CASE and _damaged(data, position + 4, length + 4):
            raise InputError(f"is damaged: the CRC of the PNG's {kind.decode('latin-1')} chunk is wrong")
        if kind == b"eXIf":
            orientation = exif_orientation(data[position + 8 : position + 8 + length])
        position += 12 + length
    return oriented("PNG", height, width, orientation)


def png_size(data: bytes | memoryview) -> tuple[int, int] | None:
    """Height and width that a PNG claims; None for anything else."""
    if len(data) < 24 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _damaged(data: bytes, start: int, length: int) -> bool:
    (expected,) = struct.unpack_from(">I", data, start + length)
    return zlib.crc32(memoryview(data)[start : start + length]) != expected


def webp_header(data: bytes) -> ImageHeader:
    """Header of a WebP (its container specification, RFC 9649).

    Raises NeedsTranscoding for EXIF after a chunk of odd length: DALI 2.4 skips no padding byte when it looks for it.
    """
    if len(data) < 30 or struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise InputError("is truncated: the WebP is shorter than it says")
    _check_chunks(data)
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != _VP8_START:
            raise InputError("is damaged: the WebP has no start code where its frame should begin")
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    else:
        raise InputError("is damaged: the WebP begins with an unknown chunk")
    exif = kind == b"VP8X" and data[20] & _WEBP_EXIF_FLAG
    return oriented("WEBP", height, width, _webp_orientation(data) if exif else 1)


def _check_chunks(data: bytes) -> None:
    """Raise InputError where a chunk is longer than the file: DALI 2.4 takes the memory that an EXIF chunk claims."""
    position = 12
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        position += 8 + length
        if position > len(data):
            raise InputError("is truncated: the WebP has a chunk that is longer than the file")
        position += length % 2


def _webp_orientation(data: bytes) -> int:
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            block = data[position + 8 : position + 8 + length]
            return exif_orientation(block[6:] if block.startswith(b"Exif\0\0") else block)
        if length % 2:
            break
        position += 8 + length
    raise NeedsTranscoding("is a WebP whose EXIF stands where DALI does not find it")


def pnm_header(data: bytes) -> ImageHeader:
    """Header of a PBM, PGM or PPM (netpbm's definition).

    Raises NeedsTranscoding for the ASCII forms, and for maxima other than 255 and 65535, which DALI does not scale.
    """
    if data[1:2] in b"123":
        raise NeedsTranscoding("is a PNM in ASCII, which DALI does not decode")
    match = (_PBM if data[1:2] == b"4" else _PGM_PPM).match(data[:4096])
    if match is None:
        raise InputError("is truncated: the PNM ends within its header")
    *kind, width, height = (int(number) for number in match.groups()[:3])
    maximum = int(match[4]) if kind else 1
    if maximum not in (1, 255, 65535):
        raise NeedsTranscoding(f"is a PNM of maximum {maximum}, which DALI does not scale to 255")
    row = width * (3 if kind == [6] else 1) * (2 if maximum > 255 else 1) if kind else (width + 7) // 8
    if match.end() + height * row > len(data):
        raise InputError("is truncated: the PNM ends before its pixels do")
    return ImageHeader("PNM", height, width)

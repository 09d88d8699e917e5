"""Which BMPs, TIFFs, JPEG 2000s, PNMs and WebPs go into a store as they are: those that all decoders decode alike.

Each check lists what is taken. Anything else raises NeedsTranscoding, whether or not today's decoders happen to agree
on it: a list of what is known to fail would take what nobody has tried.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .jpeg_png import NeedsTranscoding, exif_orientation

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_BMP_HEADERS = {12: "<10xH", **dict.fromkeys((40, 108, 124), "<14xHI")}  # by its bytes: bits of a pixel, compression
_BMP_PLAIN, _BMP_RLE8, _BMP_MASKS = 0, 1, 3
_BGR_MASKS = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF)

_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # TIFF tags of strips, of tiles
# Photometric interpretation, bits of each sample, extra samples (which are no alpha): WhiteIsZero, BlackIsZero, RGB,
# palette, CMYK, YCbCr. At the first and at CMYK DALI prints "Unsupported photometric interpretation" and decodes it.
_TIFF_FORMS = {
    (0, (8,), ()),
    (5, (8,) * 4, ()),
    *((1, (bits,), ()) for bits in (8, 16)),
    *((2, (bits,) * 3, ()) for bits in (8, 16)),
    *((2, (bits,) * 4, (0,)) for bits in (8, 16)),
    *((3, (bits,), ()) for bits in (1, 4, 8)),
    (6, (8, 8, 8), ()),
}
_TIFF_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "Deflate", 32773: "PackBits", 32946: "Deflate"}

# Bits of a pixel by what Pillow's decoder is given, for PNMs in binary of maximum 255 or 65535, which DALI scales.
_PNM_BITS = {"1;I": 1, "L": 8, "RGB": 24, "I;16B": 16, ("RGB", 65535): 48}
_PNM_COMMENT = re.compile(rb"(?<=\s)#[^\n]*\n")  # where DALI takes one; Pillow takes it within a number too

_SRGB, _GREY, _NO_SPACE = 16, 17, 0  # enumerated colour spaces of JPEG 2000, and that of a bare codestream
_JPEG2000_FORMS = {(1, _GREY), (3, _SRGB), (4, _SRGB), (3, _NO_SPACE), (4, _NO_SPACE)}  # by the number of components


def _check_complete(name: str, whole: bool) -> None:
    if not whole:
        raise InputError(f"is truncated: the {name} ends before its pixels do")


def _bmp(image: ImageFile, data: bytes) -> None:
    tile: Any = image.tile[0]  # decoder, extents, offset, (mode, bytes of a row, direction)
    _check_complete("BMP", tile[0] != "raw" or tile[2] + image.height * tile[3][1] <= len(data))
    (header,) = struct.unpack_from("<I", data, 14)
    if header not in _BMP_HEADERS:
        raise NeedsTranscoding(f"is a BMP with a header of {header} bytes, which decoders do not read alike")
    bits, kind = (*struct.unpack_from(_BMP_HEADERS[header], data, 14), _BMP_PLAIN)[:2]
    plain = kind == _BMP_PLAIN and bits in (1, 4, 8, 24, 32)
    if plain or (kind == _BMP_RLE8 and bits == 8):
        return
    if kind == _BMP_MASKS and bits == 32 and data[54:66] == _BGR_MASKS:
        return
    raise NeedsTranscoding(f"is a BMP of {bits} bits and compression {kind}, which decoders do not read alike")


def _tiff(image: ImageFile, data: bytes) -> None:
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]: a TiffImageFile
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in tags and counts in tags:
            end = max(offset + count for offset, count in zip(tags[offsets], tags[counts], strict=False))
            _check_complete("TIFF", end <= len(data))
    compression, photometric, bits = tags.get(259, 1), tags.get(262), tuple(tags.get(258, (1,)))
    usual = tags.get(266, 1) == 1 and tags.get(284, 1) == 1 and set(tags.get(339, (1,))) == {1}
    usual &= tags.get(274, 1) in range(1, 9)
    if not usual or (photometric, bits, tuple(tags.get(338, ()))) not in _TIFF_FORMS:
        samples = f"{len(bits)} samples of {bits[0]} bits"
        raise NeedsTranscoding(f"is a TIFF of mode {image.mode} ({samples}), which decoders do not read alike")
    if compression not in _TIFF_COMPRESSIONS or (photometric == 6 and compression != 7):
        raise NeedsTranscoding(f"is a TIFF of compression {compression}, which not all decoders read")


def _jpeg2000(image: ImageFile, data: bytes) -> None:
    # The last marker that ends a codestream has to come after the first that starts its data.
    _check_complete("JPEG2000", data.rfind(b"\xff\xd9") > data.find(b"\xff\x93") > 0)
    bits, steps = jpeg2000_components(data)
    colour, pixels = data.find(b"colr\1"), data.find(b"\xff\x4f\xff\x51")
    space = _NO_SPACE if pixels == 0 else None
    if 0 < colour < pixels:  # a colour space by number; behind precedence and approximation
        space = int.from_bytes(data[colour + 7 : colour + 11], "big")
    alike = len(set(bits)) == 1 and bits[0] in (8, 16) and set(steps) == {1}
    if not alike or (len(bits), space) not in _JPEG2000_FORMS:
        raise NeedsTranscoding("is a JPEG 2000 without the colour space and the depths that decoders read alike")


def jpeg2000_components(data: bytes) -> tuple[list[int], list[int]]:
    """Of each component its bits, negative where they are signed, and its steps in both directions.

    From the SIZ marker of the codestream (ITU-T T.800, A.5.1). Raises InputError where there is none.
    """
    at = data.find(b"\xff\x4f\xff\x51")
    try:
        (count,) = struct.unpack_from(">H", data, at + 40)
        triples = [struct.unpack_from("BBB", data, at + 42 + 3 * k) for k in range(count)]
    except struct.error:
        triples = []
    if at < 0 or not triples:
        raise InputError("is damaged: the JPEG 2000 has no header of its codestream")
    bits = [-((depth & 127) + 1) if depth & 128 else depth + 1 for depth, _, _ in triples]
    return bits, [step for _, *both in triples for step in both]


def _pnm(image: ImageFile, data: bytes) -> None:
    tile: Any = image.tile[0]  # decoder, extents, offset, mode or (mode, maximum)
    if tile[0] == "ppm_plain":
        raise NeedsTranscoding("is a PNM in ASCII, which DALI does not decode")
    if tile[3] not in _PNM_BITS:
        raise NeedsTranscoding(f"is a PNM of maximum {tile[3][1]}, which DALI does not scale to 255")
    row_bytes = (image.width * _PNM_BITS[tile[3]] + 7) // 8
    _check_complete("PNM", tile[2] + image.height * row_bytes <= len(data))
    if b"#" in _PNM_COMMENT.sub(b"", data[: tile[2]]):
        raise NeedsTranscoding("is a PNM with a comment where DALI takes none")


def _webp(image: ImageFile, data: bytes) -> int:
    """The orientation; DALI 2.4 skips no padding byte on its way to EXIF, and misses it after a chunk of odd length."""
    exif: bytes = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
    position = 12
    while exif and position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            break
        if length % 2:
            raise NeedsTranscoding("is a WebP whose EXIF DALI does not find")
        position += 8 + length
    return exif_orientation(exif)


CHECKS = {"BMP": _bmp, "TIFF": _tiff, "JPEG2000": _jpeg2000, "PPM": _pnm, "WEBP": _webp}

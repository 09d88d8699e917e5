"""All formats but JPEG and PNG: headers through Pillow, and the decoding that transcoding needs.

Pillow's classes are called directly, because `Image.open` warns or raises at a global limit of pixels, where the limit
here is the caller's. Other warnings are muted under a lock, because Python's warning filters are not per thread.
"""

from __future__ import annotations

import io
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .jpeg_png import PNG_SIGNATURE, ImageHeader, NeedsTranscoding, exif_orientation, oriented

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_SIGNATURES = {
    **{head: "TIFF" for head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")},
    **{head: "JPEG2000" for head in (b"\0\0\0\x0cjP  ", b"\xffO\xffQ")},
    **{b"P%d" % kind + space: "PPM" for kind in range(1, 7) for space in (b" ", b"\t", b"\n", b"\r")},
    b"BM": "BMP",
    b"GIF8": "GIF",
    b"\0\0\1\0": "ICO",
    b"\xff\xd8": "JPEG",
    PNG_SIGNATURE: "PNG",
}
# TIFFs that DALI, OpenCV and Pillow decode alike, within one level; of others one of the three differs or fails.
_TIFF_MODES = frozenset({"L", "RGB", "P", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"})
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # TIFF tags of strips, of tiles
# Bits of a pixel by what Pillow's decoder is given, for PNMs in binary of maximum 255 or 65535, which DALI scales.
_PNM_BITS = {"1;I": 1, "L": 8, "RGB": 24, "I;16B": 16, ("RGB", 65535): 48}

_muting = threading.Lock()


def sniff(data: bytes) -> str:
    """Name of the format by its first bytes; raises InputError for what is no image."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        return "AVIF" if data[8:11] == b"avi" or b"avif" in data[16:64] else "HEIF"
    for head, name in _SIGNATURES.items():
        if data.startswith(head):
            return name
    raise InputError("is not an image")


def pillow_header(data: bytes) -> ImageHeader:
    """Header of a BMP, TIFF, JPEG 2000, WebP or PNM.

    Raises InputError for what is damaged or cut off, NeedsTranscoding for other formats and unsupported variants.
    """
    name = sniff(data)
    if name not in _CHECKS:
        raise NeedsTranscoding(f"is a picture in the format {name}, which DALI does not decode")
    with _opened(data, name) as image:
        # Of TIFFs Pillow has transposed the size already; of the others only WebP has an orientation.
        return oriented("PNM" if name == "PPM" else name, image.height, image.width, _CHECKS[name](image, data) or 1)


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB of whatever Pillow reads: oriented, alpha dropped, first frame.

    One at a time in a process, because of the muted warnings. Raises InputError for what is damaged, has more pixels
    than `max_pixels`, or has 32-bit samples, whose range only their owner knows.
    """
    from PIL import ImageOps

    name = sniff(data)
    with _opened(data, name) as image:
        if image.width * image.height > max_pixels:
            raise InputError(
                f"has {image.width * image.height:,} pixels, more than the {max_pixels:,} allowed (max_pixels)"
            )
        if image.mode in ("F", "I"):
            raise InputError("has 32-bit samples; convert it to 8 or 16 bits, with a scale of your choice")
        try:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except Exception as error:  # plugins raise whatever their parsers run into
            raise InputError(f"is damaged: it cannot be decoded ({error})") from None


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[ImageFile]:
    """The image with its header read and its pixels not."""
    from PIL import Image

    with _muting, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.init()
        if name not in Image.OPEN:
            raise InputError(f"is a picture in the format {name}, which neither DALI nor Pillow reads: convert it")
        try:
            image = Image.OPEN[name][0](io.BytesIO(data), "")
        except Exception as error:  # plugins raise whatever their parsers run into
            raise InputError(f"is damaged or truncated: its {name} header cannot be read ({error})") from None
        with image:
            yield image


def _check_complete(name: str, whole: bool) -> None:
    if not whole:
        raise InputError(f"is truncated: the {name} ends before its pixels do")


def _bmp(image: ImageFile, data: bytes) -> None:
    tile: Any = image.tile[0]  # decoder, extents, offset, (mode, bytes of a row, direction)
    _check_complete("BMP", tile[0] != "raw" or tile[2] + image.height * tile[3][1] <= len(data))


def _jpeg2000(image: ImageFile, data: bytes) -> None:
    # The last marker that ends a codestream has to come after the first that starts its data.
    _check_complete("JPEG2000", data.rfind(b"\xff\xd9") > data.find(b"\xff\x93") > 0)


def _tiff(image: ImageFile, data: bytes) -> None:
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]: a TiffImageFile
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in tags and counts in tags:
            end = max(offset + count for offset, count in zip(tags[offsets], tags[counts], strict=False))
            _check_complete("TIFF", end <= len(data))
    if image.mode not in _TIFF_MODES:
        raise NeedsTranscoding(f"is a TIFF of mode {image.mode}, which DALI and OpenCV do not decode alike")


def _pnm(image: ImageFile, data: bytes) -> None:
    tile: Any = image.tile[0]  # decoder, extents, offset, mode or (mode, maximum)
    if tile[0] == "ppm_plain":
        raise NeedsTranscoding("is a PNM in ASCII, which DALI does not decode")
    if tile[3] not in _PNM_BITS:
        raise NeedsTranscoding(f"is a PNM of maximum {tile[3][1]}, which DALI does not scale to 255")
    row_bytes = (image.width * _PNM_BITS[tile[3]] + 7) // 8
    _check_complete("PNM", tile[2] + image.height * row_bytes <= len(data))


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


_CHECKS = {"BMP": _bmp, "TIFF": _tiff, "JPEG2000": _jpeg2000, "PPM": _pnm, "WEBP": _webp}

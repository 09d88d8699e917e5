"""BMP, TIFF, JPEG 2000 and what DALI does not decode: headers through Pillow, and the decoding that transcoding needs.

Pillow's classes are called directly: `Image.open` warns or raises at its own, global limit of pixels, and ours is the
caller's. Its other warnings are muted under a lock, because Python's warning filters are not per thread.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .parts import ImageHeader, NeedsTranscoding

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
    b"\x89PNG\r\n\x1a\n": "PNG",
}
_DECODED = frozenset({"BMP", "JPEG2000", "TIFF"})
# Those that DALI, OpenCV and Pillow decode alike, within one level; in others one of the three differs or fails.
_TIFF_MODES = frozenset({"L", "RGB", "P", "CMYK", "YCbCr", "I;16", "I;16B", "I;16L"})
_OFFSETS_AND_COUNTS = ((273, 279), (324, 325))  # TIFF tags of strips, of tiles

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


def pillow_header(data: bytes, name: str) -> ImageHeader:
    """Header of a BMP, TIFF or JPEG 2000; raises NeedsTranscoding for other formats and unsupported variants."""
    if name not in _DECODED:
        raise NeedsTranscoding(f"is a picture in the format {name}, which DALI does not decode")
    with _opened(data, name) as image:
        _check_complete(image, data, name)
        if name == "TIFF" and image.mode not in _TIFF_MODES:
            raise NeedsTranscoding(f"is a TIFF of mode {image.mode}, which DALI and OpenCV do not decode alike")
        return ImageHeader(name, image.height, image.width)  # Pillow has transposed a TIFF's size by its orientation


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
                f"has {image.width * image.height:,} pixels, more than the {max_pixels:,} allowed (--max-pixels)"
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


def _check_complete(image: ImageFile, data: bytes, name: str) -> None:
    """Raise InputError where the pixel data end before they should."""
    if name == "JPEG2000":
        whole = data.rfind(b"\xff\xd9") > data.find(b"\xff\x93") > 0  # end of codestream after the first start of data
    elif name == "TIFF":
        whole = _tiff_end(image) <= len(data)
    else:
        tile: Any = image.tile[0]  # decoder, extents, offset, (mode, bytes of a row, direction)
        whole = tile[0] != "raw" or tile[2] + image.height * tile[3][1] <= len(data)
    if not whole:
        raise InputError(f"is truncated: the {name} ends before its pixels do")


def _tiff_end(image: ImageFile) -> int:
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]: a TiffImageFile
    for offsets, counts in _OFFSETS_AND_COUNTS:
        if offsets in tags and counts in tags:
            return max(offset + count for offset, count in zip(tags[offsets], tags[counts], strict=False))
    return 0

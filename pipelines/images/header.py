"""Whether a file can go into a store, from its bytes and without decoding: format, oriented size, end marker.

DALI serves the images of a store, OpenCV measures and shrinks them, Pillow transcodes. So a file is taken as it is
only in a form on which the three agree: on all pixels within one level (of 255), nearly always to the last bit.
- JPEG: Huffman or arithmetic coded, baseline, extended or progressive, 8 bits; grey, YCbCr and RGB; CMYK and YCCK with
  an Adobe segment;
- PNG: all colour types, depths and interlacing; animated: the first picture;
- WebP whose EXIF block, if any, DALI finds;
- BMP, TIFF, JPEG 2000, PNM: the lists in `forms`.
16-bit values are scaled, alpha is dropped, orientation is that of EXIF (TIFF: of its tag); XMP's does not count, as
DALI and OpenCV do not read it. Anything else raises NeedsTranscoding: DALI fails on it (GIF, AVIF, lossless JPEG, RLE4
BMP), gives wrong colours (CMYK without Adobe segment, sYCC JPEG 2000, WhiteIsZero of 16 bits), or nobody has tried.
`tests/helpers/image_zoo.py` has files of all these forms. Sizes agree with `fn.peek_image_shape`.
"""

from __future__ import annotations

from ..errors import InputError
from .jpeg_png import PNG_SIGNATURE, ImageHeader, NeedsTranscoding, jpeg_header, png_header
from .pillow import pillow_header

__all__ = ["MAX_PIXELS", "ImageHeader", "NeedsTranscoding", "fault", "probe"]

# Where Pillow raises DecompressionBombError: a 24-bit picture of 512 MiB, twice the limit above which it warns.
MAX_PIXELS = 178_956_970


def fault(data: bytes | memoryview, size: tuple[int, int], max_pixels: int) -> str | None:
    """Why a record of a store is not an image of that (height, width), as far as its header tells, else None."""
    try:
        header = probe(data, max_pixels=max_pixels)
    except InputError as error:
        return str(error)
    height, width = size
    if (header.height, header.width) != (height, width):
        return f"has {header.height} x {header.width} px, but is recorded with {height} x {width}"
    return None


def probe(data: bytes | memoryview, *, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Header of an encoded image that DALI decodes to exactly its size, if its pixels are sound.

    Raises InputError with a reason that completes "FILE ...": "is empty", "is not an image", "is truncated: ...", "is
    damaged: ...", "has ... pixels, ..."; NeedsTranscoding where the image is whole but of an unsupported form.
    """
    if not data:
        raise InputError("is empty")
    if data[:2] == b"\xff\xd8":
        header = jpeg_header(data)  # whose data are not copied
    elif data[:8] == PNG_SIGNATURE:
        header = png_header(bytes(data))
    else:
        header = pillow_header(bytes(data))
    if header.height < 1 or header.width < 1:
        raise InputError(f"is damaged: it claims {header.height} x {header.width} px")
    if header.height * header.width > max_pixels:
        raise InputError(
            f"has {header.height:,} x {header.width:,} px, more than the {max_pixels:,} allowed (max_pixels)"
        )
    return header

"""Whether a file can go into a store, from its bytes and without decoding: format, oriented size, end marker.

The same files were decoded by DALI 2.4 (`fn.decoders.image`, CPU), OpenCV and Pillow, with these results:
- alike to the last bit: JPEG (baseline, progressive, arithmetic-coded; grey, RGB), PNG (1 to 16 bits; grey, palette,
  with alpha, animated: first frame), WebP, BMP (1 to 32 bits, RLE), PNM (binary, maximum 255 or 65535), JPEG 2000, TIFF
  (grey, RGB, 8 and 16 bits, compressed; first page). 16-bit values are scaled, alpha is dropped, EXIF is applied;
- alike within one level: CMYK and YCCK JPEG, palette and YCbCr TIFF, 16-bit JPEG 2000;
- not decoded by DALI: GIF, AVIF, HEIF, ICO, ASCII PNM, 1-bit TIFF (some), 32-bit TIFF, lossless and 12-bit JPEG, WebP
  with EXIF after a chunk of odd length;
- decoded, but wrongly or not alike: PNM of other maxima (not scaled), grey + alpha TIFF (multiplied by alpha), RGB +
  alpha TIFF (OpenCV multiplies), Lab and float TIFF.
Files of the last two groups raise NeedsTranscoding. Sizes of others agree with `fn.peek_image_shape`, with any EXIF.
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

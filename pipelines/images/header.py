"""Whether a file can go into a store, from its bytes and without decoding: format, oriented size, end marker.

What DALI 2.4 (`fn.decoders.image`, CPU), OpenCV and Pillow made of the same files decides what is taken as it came:
- alike to the last bit: JPEG (baseline, progressive, arithmetic-coded; grey, RGB), PNG (1 to 16 bits; grey, palette,
  with alpha, animated: first frame), WebP, BMP (1 to 32 bits, RLE), PNM (binary, maximum 255 or 65535), JPEG 2000, TIFF
  (grey, RGB, 8 and 16 bits, compressed; first page). 16-bit values are scaled, alpha is dropped, EXIF is applied;
- alike within one level: CMYK and YCCK JPEG, palette and YCbCr TIFF, 16-bit JPEG 2000;
- not decoded by DALI: GIF, AVIF, HEIF, ICO, ASCII PNM, 1-bit TIFF (some), 32-bit TIFF, lossless and 12-bit JPEG, WebP
  with EXIF after a chunk of odd length;
- decoded, but wrongly or not alike: PNM of other maxima (not scaled), grey + alpha TIFF (multiplied by alpha), RGB +
  alpha TIFF (OpenCV multiplies), Lab and float TIFF.
The last two groups raise NeedsTranscoding. Sizes agree with `fn.peek_image_shape` in all others, with any EXIF.
"""

from __future__ import annotations

from ..errors import InputError
from .chunks import png_header, pnm_header, webp_header
from .jpeg import jpeg_header
from .parts import MAX_PIXELS, ImageHeader, NeedsTranscoding
from .pillow import pillow_header, sniff

__all__ = ["MAX_PIXELS", "ImageHeader", "NeedsTranscoding", "fault", "probe"]

_PARSERS = {"JPEG": jpeg_header, "PNG": png_header, "WEBP": webp_header, "PPM": pnm_header}


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
    header = jpeg_header(data) if data[:3] == b"\xff\xd8\xff" else _other_header(bytes(data))  # a JPEG is not copied
    if header.height < 1 or header.width < 1:
        raise InputError(f"is damaged: it claims {header.height} x {header.width} px")
    if header.height * header.width > max_pixels:
        raise InputError(
            f"has {header.height:,} x {header.width:,} px, more than the {max_pixels:,} allowed (--max-pixels)"
        )
    return header


def _other_header(data: bytes) -> ImageHeader:
    name = sniff(data)
    return _PARSERS[name](data) if name in _PARSERS else pillow_header(data, name)

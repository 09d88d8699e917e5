"""All formats but JPEG and PNG: headers through Pillow; and the decoding that transcoding needs.

Pillow's classes are called directly, because `Image.open` warns or raises at a global limit of pixels, where the limit
here is the caller's. Other warnings are muted under a lock, because Python's warning filters are not per thread.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .forms import CHECKS, jpeg2000_components
from .jpeg_png import PNG_SIGNATURE, ImageHeader, NeedsTranscoding, oriented

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
    # Not taken, and named, so that nobody looks for damage.
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"P7\n": "PAM",
    **{b"P" + letter + b"\n": "PFM" for letter in (b"F", b"f")},
    b"8BPS": "PSD",
    b"v/1\x01": "EXR",
    b"#?RADIANCE": "HDR",
    b"qoif": "QOI",
}
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
    with _opened(data, name) as image:
        if name not in CHECKS:
            raise NeedsTranscoding(f"is a picture in the format {name}, which DALI does not decode")
        # Of TIFFs Pillow has transposed the size already; of the others only WebP has an orientation.
        return oriented("PNM" if name == "PPM" else name, image.height, image.width, CHECKS[name](image, data) or 1)


def decode(data: bytes, max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3] RGB of whatever Pillow reads: oriented by EXIF (XMP does not count), alpha dropped, first frame.

    One at a time in a process, because of the muted warnings. Raises InputError for what is damaged, has more pixels
    than `max_pixels`, has samples whose range only their owner knows, or comes out of Pillow in wrong colours.
    """
    name = sniff(data)
    with _opened(data, name) as image:
        if image.width * image.height > max_pixels:
            raise InputError(
                f"has {image.width * image.height:,} pixels, more than the {max_pixels:,} allowed (max_pixels)"
            )
        _check_range(image, name, data)
        try:
            return turned(_rgb(image), 1 if name == "TIFF" else _orientation(image))  # a TIFF Pillow has turned already
        except Exception as error:  # plugins raise whatever their parsers run into
            raise InputError(f"is damaged: it cannot be decoded ({error})") from None


def _check_range(image: ImageFile, name: str, data: bytes) -> None:
    """Refuse what has no known range of values, and what Pillow is known to decode wrongly."""
    if image.mode == "F" or (image.mode == "I" and name != "PPM"):
        kind = "floating-point numbers" if image.mode == "F" else "samples of 32 bits, or signed ones"
        raise InputError(f"has {kind}, of no known range: convert it to 8 or 16 bits, with a scale of your choice")
    tags = getattr(image, "tag_v2", {})
    if tags.get(284) == 2 and 16 in tags.get(258, ()):
        raise InputError("is a TIFF of 16 bits in separate planes, which Pillow misreads: convert it to PNG")
    if 2 in tags.get(339, ()):
        raise InputError("is a TIFF of signed samples, of no known range: convert it to unsigned ones")
    if name == "JPEG2000":  # Pillow's rounding wraps white to black in colour of more than 8 bits
        bits, _ = jpeg2000_components(data)
        if len(bits) > 2 and max(map(abs, bits)) > 8:
            raise InputError("is a JPEG 2000 in colour of more than 8 bits, which Pillow misreads: convert it to PNG")


def _orientation(image: ImageFile) -> int:
    """That of its EXIF block as the standard reads it; Pillow's own `getexif` would fall back on XMP."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
        value = exif.get(274, 1)
    except Exception:  # parsers of garbage raise anything
        return 1
    return value if value in range(1, 9) else 1


def _rgb(image: ImageFile) -> np.ndarray:
    """uint8 [H, W, 3]; 16 bits are scaled, where Pillow's own conversion would clip them."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return np.asarray((image.convert("LA") if image.mode == "La" else image).convert("RGB"))
    grey = np.round(np.asarray(image).astype(np.float64) / 257)
    if getattr(image, "tag_v2", {}).get(262) == 0:  # WhiteIsZero, which Pillow inverts in 8 bits only
        grey = 255 - grey
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, C] as stored -> upright, by its EXIF orientation (1 to 8)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(pixels[rows, columns])


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[ImageFile]:
    """The image with its header read and its pixels not."""
    from PIL import Image

    with _muting, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.init()
        if name not in Image.OPEN:
            raise InputError(
                f"is a picture in the format {name}, which neither DALI nor Pillow reads: convert it to JPEG or PNG"
            )
        try:
            image = Image.OPEN[name][0](io.BytesIO(data), "")
        except Exception as error:  # plugins raise whatever their parsers run into
            raise InputError(
                f"is damaged, truncated or a {name} that Pillow does not read ({error}): convert it to JPEG or PNG"
            ) from None
        with image:
            yield image

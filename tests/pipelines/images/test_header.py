"""The header check against DALI itself: what it accepts, DALI decodes to that size; what it refuses, it names."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.pipelines.images.header import NeedsTranscoding, probe
from sdali.pipelines.images.pillow import decode
from sdali.pipelines.io.dali import require_dali

_HEIGHT, _WIDTH = 48, 64
_PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (_WIDTH, _HEIGHT))
_RGB = Image.fromarray(_PIXELS)


def _exif(orientation: int, order: str = "<", prefix: bytes = b"Exif\0\0", kind: int = 3, entries: int = 1) -> bytes:
    value = struct.pack(order + "HH", orientation, 0) if kind == 3 else struct.pack(order + "I", orientation)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, entries)
    return prefix + head + struct.pack(order + "HHI", 274, kind, 1) + value + bytes(4)


def _save(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def _cv(extension: str, image: np.ndarray) -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has next to no pixels: a decompression bomb's header."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b"")


_JPEG = _save(_RGB, "JPEG", quality=95)
_PNG = _save(_RGB, "PNG")
_GREY16 = _PIXELS[..., 0].astype(np.uint16) * 257
_RGB16 = _PIXELS.astype(np.uint16) * 257


def _with_exif(*blocks: bytes) -> bytes:
    """The JPEG with these blocks as APP1 segments, in order."""
    segments = [b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in blocks]
    return _JPEG[:2] + b"".join(segments) + _JPEG[2:]


_ACCEPTED = {
    "jp2-codestream": _save(_RGB, "JPEG2000", no_jp2=True),
    "tiff-cmyk": _save(_RGB.convert("CMYK"), "TIFF"),
    "jpeg": _JPEG,
    "jpeg-progressive": _save(_RGB, "JPEG", progressive=True),
    "jpeg-grey": _save(_RGB.convert("L"), "JPEG"),
    "jpeg-cmyk": _save(_RGB.convert("CMYK"), "JPEG"),
    "jpeg-4000x1": _cv(".jpg", np.zeros((1, 4000, 3), np.uint8)),
    "jpeg-trailing": _JPEG + bytes(1000),
    "jpeg-fill-bytes": _JPEG[:2] + b"\xff\xff" + _JPEG[2:],
    **{f"jpeg-exif-{o}{order}": _with_exif(_exif(o, order)) for o in range(10) for order in "<>"},
    "jpeg-exif-long": _with_exif(_exif(6, kind=4)),
    "jpeg-exif-little-mark-big-number": _with_exif(_exif(6, ">").replace(b"MM", b"II")),
    "jpeg-exif-short": _with_exif(b"Exif\0\0II*\0"),
    "jpeg-exif-garbage": _with_exif(b"Exif\0\0garbage garbage"),
    "jpeg-exif-after-xmp": _with_exif(b"http://ns.adobe.com/xap/1.0/\0<x/>", _exif(6)),
    "png": _PNG,
    "png-grey": _save(_RGB.convert("L"), "PNG"),
    "png-1-bit": _save(_RGB.convert("1"), "PNG"),
    "png-palette": _save(_RGB.convert("P"), "PNG"),
    "png-grey-alpha": _save(_RGB.convert("LA"), "PNG"),
    "png-rgba": _save(_RGB.convert("RGBA"), "PNG"),
    "png-grey-16": _cv(".png", _GREY16),
    "png-rgb-16": _cv(".png", _RGB16),
    "png-exif": _save(_RGB, "PNG", exif=_exif(6, ">")),
    "png-exif-at-the-end": _PNG[:-12] + _chunk(b"eXIf", _exif(6, prefix=b"")) + _PNG[-12:],
    "png-exif-as-text": _PNG[:33] + _chunk(b"tEXt", b"Raw profile type exif\0exif 8") + _PNG[33:],
    "webp": _save(_RGB, "WEBP"),
    "webp-lossless": _save(_RGB, "WEBP", lossless=True),
    "webp-rgba": _save(_RGB.convert("RGBA"), "WEBP"),
    "webp-exif": _save(_RGB, "WEBP", exif=_exif(6)),
    "webp-animated": _save(_RGB, "WEBP", save_all=True, append_images=[_RGB.rotate(180)]),
    "bmp": _save(_RGB, "BMP"),
    "bmp-grey": _save(_RGB.convert("L"), "BMP"),
    "bmp-1-bit": _save(_RGB.convert("1"), "BMP"),
    "tiff": _save(_RGB, "TIFF"),
    "tiff-lzw": _save(_RGB, "TIFF", compression="tiff_lzw"),
    "tiff-palette": _save(_RGB.convert("P"), "TIFF"),
    "tiff-16": _cv(".tif", _GREY16),
    "tiff-rgb-16": _cv(".tif", _RGB16),
    **{f"tiff-orientation-{o}": _save(_RGB, "TIFF", tiffinfo={274: o}) for o in range(1, 9)},
    "jp2": _save(_RGB, "JPEG2000"),
    "pbm": _save(_RGB.convert("1"), "PPM"),
    "pgm": _save(_RGB.convert("L"), "PPM"),
    "pgm-16": _cv(".pgm", _GREY16),
    "ppm": _save(_RGB, "PPM"),
    "ppm-16": _cv(".ppm", _RGB16),
    "ppm-comment": b"P6\n# size 3 4\n64 48\n# end\n255\n" + _PIXELS.tobytes(),
}

_TRANSCODED = {
    "jpeg-exif-long-big-endian": _with_exif(_exif(6, ">", kind=4)),
    "jpeg-exif-half-a-mark": _with_exif(_exif(6, ">").replace(b"MM", b"M\r")),
    "jpeg-exif-incomplete": _with_exif(_exif(6, entries=500)),
    "jpeg-exif-6-then-1": _with_exif(_exif(6), _exif(1)),
    "jpeg-exif-1-then-6": _with_exif(_exif(1), _exif(6)),
    "gif": _save(_RGB, "GIF"),
    "avif": _save(_RGB, "AVIF"),
    "ico": _save(_RGB, "ICO", sizes=[(_WIDTH, _HEIGHT)]),
    "ascii-pnm": f"P3 {_WIDTH} {_HEIGHT} 255 {' '.join(map(str, _PIXELS.ravel()))}".encode(),
    "pgm-maximum-100": b"P5 64 48 100\n" + (_PIXELS[..., 0] // 3).tobytes(),
    "tiff-1-bit": _save(_RGB.convert("1"), "TIFF"),
    "tiff-rgba": _save(_RGB.convert("RGBA"), "TIFF"),
    "tiff-grey-alpha": _save(_RGB.convert("LA"), "TIFF"),
    "webp-exif-after-odd": _save(_RGB, "WEBP", icc_profile=b"x" * 501, exif=_exif(6)),
}

_REFUSED = {
    "is empty": b"",
    "is not an image": b"hello world, this is the text of a file called cat.jpg",
    "is truncated: the JPEG has no end marker": _JPEG[:-2],
    "is truncated: the JPEG ends within its header": _JPEG[:100],
    "is truncated: the PNG has no end chunk": _PNG[:-12],
    "is damaged: the CRC of the PNG's IDAT": _PNG[:-30] + bytes([_PNG[-30] ^ 1]) + _PNG[-29:],
    "is damaged, truncated or a WEBP that Pillow does not read": _ACCEPTED["webp"][:-10],
    "is damaged, truncated or a WEBP that": _ACCEPTED["webp-exif"].replace(b"EXIF\x1a", b"EXIF\xff"),
    "is damaged, truncated or a WEBP": _ACCEPTED["webp"].replace(b"\x9d\x01\x2a", b"\x9d\x01\x2b"),
    "is damaged: the PNG claims colour type 2 with 1 bits": _PNG[:24] + b"\1" + _PNG[25:],
    "is truncated: the BMP ends": _ACCEPTED["bmp"][:-1000],
    "is truncated: the TIFF ends": _ACCEPTED["tiff"][:-1000],
    "is truncated: the JPEG2000 ends": _ACCEPTED["jp2"][:-500],
    "is truncated: the PNM ends before its pixels": _ACCEPTED["ppm"][:-1],
    "has 40,000 x 40,000 px, more than the 178,956,970 allowed (max_pixels)": _png_of(40_000, 40_000),
    "is damaged: it claims 0 x 5 px": _png_of(5, 0),
    "format HEIF": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
}


@pytest.fixture(scope="module")
def dali_shape() -> Any:
    """encoded bytes -> (height, width) of DALI's decoded image; raises RuntimeError where DALI does."""
    pytest.importorskip("nvidia.dali")
    dali = require_dali()
    fn, types = dali.fn, dali.types

    @dali.pipeline_def(batch_size=1, num_threads=1, device_id=None, prefetch_queue_depth=1)
    def decoded() -> Any:
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        return fn.decoders.image(encoded)

    pipeline: Any = decoded()
    pipeline.build()

    def shape(data: bytes) -> tuple[int, int]:
        pipeline.feed_input("encoded", [np.frombuffer(data, np.uint8)])
        return pipeline.run()[0].at(0).shape[:2]

    return shape


@pytest.mark.parametrize("name", _ACCEPTED)
def test_sizes_are_what_dali_decodes(dali_shape: Any, name: str) -> None:
    """The probed height and width are those of DALI's decoded image, orientation applied."""
    header = probe(_ACCEPTED[name])
    assert (header.height, header.width) == dali_shape(_ACCEPTED[name])


@pytest.mark.parametrize("name", _TRANSCODED)
def test_what_dali_does_not_decode_can_be_transcoded(name: str) -> None:
    """Whole images of unsupported kinds are told from damaged ones, and decode to about what they were made of."""
    with pytest.raises(NeedsTranscoding, match=r"DALI|decoders"):
        probe(_TRANSCODED[name])
    image = decode(_TRANSCODED[name], 10_000)
    assert image.shape in {(_HEIGHT, _WIDTH, 3), (_WIDTH, _HEIGHT, 3)} and image.dtype == np.uint8
    if name in {"avif", "ascii-pnm", "tiff-rgba"}:
        assert np.abs(image.astype(int) - _PIXELS).mean() < 4
    with pytest.raises(InputError, match="more than the 10 allowed"):
        decode(_TRANSCODED[name], 10)


@pytest.mark.parametrize("reason", _REFUSED)
def test_what_is_refused_is_named(reason: str) -> None:
    """Each kind of bad file has its reason, before anything is decoded."""
    with pytest.raises(InputError) as caught:
        probe(_REFUSED[reason])
    assert reason in str(caught.value)


def test_an_end_marker_inside_a_thumbnail_does_not_count() -> None:
    """A truncated photograph with a whole thumbnail in its EXIF is truncated."""
    whole = _with_exif(_exif(1) + _JPEG)
    assert probe(whole).width == _WIDTH
    with pytest.raises(InputError, match="no end marker"):
        probe(whole[:-2])


def test_frames_that_dali_does_not_decode() -> None:
    """Lossless and 12-bit JPEGs are named; a frame without size is damaged."""
    frame = _JPEG.index(b"\xff\xc0")
    lossless = _JPEG[: frame + 1] + b"\xc3" + _JPEG[frame + 2 :]
    twelve = _JPEG[: frame + 4] + b"\x0c" + _JPEG[frame + 5 :]
    empty = _JPEG[: frame + 5] + b"\0\0" + _JPEG[frame + 7 :]
    for data, kind, reason in [
        (lossless, NeedsTranscoding, "lossless"),
        (twelve, NeedsTranscoding, "12 bits"),
        (empty, InputError, "0 x 64 px"),
    ]:
        with pytest.raises(kind, match=reason):
            probe(data)


def test_the_limit_of_pixels_is_the_callers() -> None:
    """One pixel more than allowed is refused, exactly as many are not; Pillow's own limit plays no part."""
    assert probe(_JPEG, max_pixels=_HEIGHT * _WIDTH).width == _WIDTH
    with pytest.raises(InputError, match="48 x 64 px"):
        probe(_JPEG, max_pixels=_HEIGHT * _WIDTH - 1)
    assert probe(_png_of(40_000, 40_000), max_pixels=2_000_000_000).height == 40_000
    bomb = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b"," + bytes(8) + b"\2\1\0\0;"
    with pytest.raises(InputError, match="3,600,000,000 pixels"):
        decode(bomb, 100_000_000)


@given(st.sampled_from(sorted(_ACCEPTED)), st.data())
def test_a_damaged_header_raises_nothing_else(name: str, data: st.DataObject) -> None:
    """Cut anywhere and with any bytes changed, a file passes or raises InputError, without a warning."""
    content = bytearray(_ACCEPTED[name])
    del content[data.draw(st.integers(0, len(content))) :]
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, min(len(content), 200) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            probe(bytes(content))
        except InputError as error:
            assert str(error).split()[0] in {"is", "has"}


@given(st.integers(1, len(_JPEG) - 1))
def test_a_truncated_jpeg_never_passes(length: int) -> None:
    """No prefix of a JPEG is taken for a whole one."""
    with pytest.raises(InputError):
        probe(_JPEG[:length])

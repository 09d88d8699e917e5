"""Headers of JPEG, PNG and WebP from any bytes: refused, or of the size that Pillow finds, in time."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.pipelines.images.header import probe

PIXELS = cv2.resize(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8), (60, 44))
ENDINGS = (".jpg", ".png", ".webp")
WHOLE = {ending: cv2.imencode(ending, PIXELS)[1].tobytes() for ending in ENDINGS}
MAGIC = {".jpg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ".webp": b"RIFF\x20\0\0\0WEBPVP8"}


def sides(data: bytes) -> set[int] | None:
    """Height and width by Pillow, orientation left aside; None where it refuses."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return set(image.size)
    except (OSError, SyntaxError, ValueError):
        return None


@pytest.fixture(autouse=True, scope="module")
def sizes_without_limit() -> Iterator[None]:
    """Pillow says how large pictures of any size are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        yield


@given(st.sampled_from(ENDINGS), st.data())
def test_changed_files_are_refused_or_have_the_size_that_pillow_finds(ending: str, data: st.DataObject) -> None:
    """Bytes of the header replaced; what both take has one size."""
    content = bytearray(WHOLE[ending])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(2, 40 if ending != ".jpg" else 700))] = data.draw(st.integers(0, 255))
    if ending == ".png":  # a stranger's checksum fits
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    try:
        header = probe(bytes(content), max_pixels=1 << 62)
    except InputError:
        return
    found = sides(bytes(content))
    assert found is None or found == {header.height, header.width}


@given(st.sampled_from(ENDINGS), st.binary(max_size=300))
def test_any_bytes_behind_a_signature_are_refused_or_have_a_size(ending: str, rest: bytes) -> None:
    try:
        header = probe(MAGIC[ending] + rest)
    except InputError as error:
        assert str(error).split()[0] in {"is", "has"}
    else:
        assert header.height >= 1 and header.width >= 1 and 1 <= header.orientation <= 8


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


EXIF = b"II*\0" + struct.pack("<IH", 8, 5000) + struct.pack("<HHI4x", 1, 3, 1) * 5000
IHDR = chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0))
VP8X = b"VP8X" + struct.pack("<I", 10) + b"\x08\0\0\0\3\0\0\3\0\0"
LONGEST = {  # as much as can be asked for a byte
    "JPEG of fill bytes": b"\xff\xd8" + b"\xff" * 2_000_000,
    "JPEG of empty segments": b"\xff\xd8\xff" + b"\xe2\0\2\xff" * 250_000,
    "JPEG of EXIF": b"\xff\xd8" + (b"\xff\xe1" + struct.pack(">H", len(EXIF) + 8) + b"Exif\0\0" + EXIF) * 30,
    "PNG of empty chunks": b"\x89PNG\r\n\x1a\n" + IHDR + chunk(b"IDAT", b"") * 100_000,
    "PNG of EXIF": b"\x89PNG\r\n\x1a\n" + IHDR + chunk(b"eXIf", EXIF) * 30,
    "WebP of empty chunks": b"RIFF" + struct.pack("<I", 2_000_022) + b"WEBP" + VP8X + b"ABCD\0\0\0\0" * 250_000,
    "PNM of comments": b"P6 " + b"#\n" * 1_000_000,
    "PNM of digits": b"P6 " + b"1" * 2_000_000,
}


@pytest.mark.perf
@pytest.mark.parametrize("name", LONGEST)
def test_work_grows_with_the_bytes_alone(name: str) -> None:
    """1 to 2 MB of the worst: refused within 3 s of CPU, where anything quadratic takes hours."""
    begun = time.process_time()
    with pytest.raises(InputError):
        probe(LONGEST[name])
    assert time.process_time() - begun < 3

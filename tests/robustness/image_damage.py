"""Sound pictures of many forms, and damage to them, the n-th always the same: what a folder from anywhere may hold.

The forms are JPEG (baseline, 4:4:4, progressive, grey, CMYK, turned by EXIF, with restart markers), PNG (RGB, grey,
palette, with alpha, 1 and 16 bits, animated) and WebP (lossy, lossless, with alpha, turned by EXIF, animated).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.pipelines.images.jpeg_png import PNG_SIGNATURE

ENDINGS = (".jpg", ".png", ".webp")
_PHOTOGRAPHS = 60  # of a folder
_HUGE = (14_000, 16_383, 30_000, 65_535)  # the last a JPEG's longest side, the second a WebP's

Picture = tuple[str, bytes]  # ending of its file name, content


def sound_pictures() -> list[Picture]:
    """Generated, of 40 to 100 px a side."""
    rng = np.random.default_rng(0)

    def image(mode: str = "RGB") -> Image.Image:
        height, width = (int(side) for side in rng.integers(40, 100, 2))
        coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
        pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return Image.fromarray(pixels).convert(mode)

    def saved(format: str, mode: str = "RGB", *, moving: bool = False, **options: Any) -> Picture:
        file, picture = io.BytesIO(), image(mode)
        frames: dict[str, Any] = {"save_all": True, "append_images": [picture.rotate(180)]} if moving else {}
        picture.save(file, format, **frames, **options)
        return f".{format.lower()}".replace("jpeg", "jpg"), file.getvalue()

    turned = Image.Exif()
    turned[274] = 6
    deep = [np.asarray(image(mode)).astype(np.uint16) * 257 for mode in ("RGB", "L")]
    return [
        saved("JPEG"),
        saved("JPEG", quality=95, subsampling=0),
        saved("JPEG", progressive=True),
        saved("JPEG", "L"),
        saved("JPEG", "CMYK"),
        saved("JPEG", exif=turned),
        saved("JPEG", restart_marker_blocks=3),
        saved("PNG"),
        *(saved("PNG", mode) for mode in ("L", "P", "RGBA", "1")),
        *((".png", cv2.imencode(".png", pixels)[1].tobytes()) for pixels in deep),
        saved("PNG", moving=True),
        saved("WEBP"),
        saved("WEBP", lossless=True),
        saved("WEBP", "RGBA"),
        saved("WEBP", exif=turned),
        saved("WEBP", moving=True),
    ]


def photographs(folder: Path) -> list[Picture]:
    """The first 60 JPEG, PNG and WebP files below a folder, by path; InputError where there is none."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (*ENDINGS, ".jpeg"))[:_PHOTOGRAPHS]
    if not paths:
        raise InputError(f"{folder} holds no photographs (JPEG, PNG, WebP); name a folder that does")
    return [(path.suffix.lower().replace(".jpeg", ".jpg"), path.read_bytes()) for path in paths]


def damage_picture(picture: Picture, number: int, seed: int) -> tuple[str, bytes]:
    """The kind of damage `number` to a sound picture and what is left of it."""
    ending, data = picture
    rng = np.random.default_rng([seed, number])
    kinds = [*_ANY, *_JPEG_ALONE] if ending == ".jpg" else list(_ANY)
    kind = kinds[int(rng.integers(len(kinds)))]
    return kind, {**_ANY, **_JPEG_ALONE}[kind](data, rng)


Rng = np.random.Generator


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: int(rng.integers(len(data)) if rng.random() < 0.7 else rng.integers(40))]


def _flipped(data: bytes, rng: Rng, start: int, stop: int) -> bytes:
    file = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(start * 8, stop * 8, size=2 ** int(rng.integers(6)))
    np.bitwise_xor.at(file, places // 8, (1 << (places % 8)).astype(np.uint8))
    return file.tobytes()


def _header_bits(data: bytes, rng: Rng) -> bytes:
    return _flipped(data, rng, 0, min(64, len(data)))


def _pixel_bits(data: bytes, rng: Rng) -> bytes:
    return _flipped(data, rng, len(data) // 2, len(data))


def _part_bits(data: bytes, rng: Rng) -> bytes:
    """In one segment or chunk (tables, metadata, pixels), whose CRC is then made to fit."""
    start, stop = _any(list(_parts(data)), rng)
    return _with_sound_crcs(_flipped(data, rng, start, stop))


def _size(data: bytes, rng: Rng) -> bytes:
    height, width = (int(side) for side in rng.choice([0, 1, 2, 7, 48, 300, 2000], 2))
    return _with_size(data, height, width)


def _huge(data: bytes, rng: Rng) -> bytes:
    height, width = (int(side) for side in rng.choice(_HUGE, 2))
    return _with_size(data, height, width)


def _with_size(data: bytes, height: int, width: int) -> bytes:
    """Another height and width in the header, where everything else is as it was."""
    file = bytearray(data)
    if data.startswith(PNG_SIGNATURE):
        struct.pack_into(">II", file, 16, width, height)
    elif data.startswith(b"RIFF"):
        kind, high, wide = data[12:16], min(height, 16_383), min(width, 16_383)
        if kind == b"VP8 ":
            struct.pack_into("<HH", file, 26, wide, high)
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0] >> 28 << 28
            struct.pack_into("<I", file, 21, bits | max(high - 1, 0) << 14 | max(wide - 1, 0))
        else:
            file[24:30] = max(wide - 1, 0).to_bytes(3, "little") + max(high - 1, 0).to_bytes(3, "little")
    else:
        frames = [start for start, _ in _parts(data) if 0xC0 <= data[start + 1] <= 0xC2]
        struct.pack_into(">HH", file, frames[0] + 5, height, width)
    return _with_sound_crcs(bytes(file))


def _magic(data: bytes, rng: Rng) -> bytes:
    magic = _any([PNG_SIGNATURE, b"\xff\xd8\xff\xe0", data[:4][::-1], b"GIF89a", b"BM", b"II*\0", b"\0" * 12], rng)
    return magic + data[len(magic) :]


def _zeros(data: bytes, rng: Rng) -> bytes:
    start, stop = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return _any([b"", bytes(len(data)), data[:start] + bytes(stop - start) + data[stop:]], rng)


def _junk(data: bytes, rng: Rng) -> bytes:
    junk, at = rng.bytes(int(rng.integers(1, 3000))), int(rng.integers(len(data)))
    return _any([data + junk, data + data, data[:at] + junk + data[at:], junk, junk + data], rng)


def _shuffled_parts(data: bytes, rng: Rng) -> bytes:
    """A segment or chunk left out, doubled, or moved to where another was."""
    parts = list(_parts(data))
    (start, stop), (at, _) = _any(parts, rng), _any(parts, rng)
    part, rest = data[start:stop], data[:start] + data[stop:]
    return _any([rest, data[:at] + part + data[at:], rest[:at] + part + rest[at:]], rng)


def _dnl(data: bytes, rng: Rng) -> bytes:
    """The height left to a DNL segment after the scan (ITU-T T.81, B.2.5), which may be missing or lie."""
    lines = _any([0, 1, 40, 65_535], rng)
    dnl = _any([b"", b"\xff\xdc\0\4" + lines.to_bytes(2, "big")], rng)
    frames = [start for start, _ in _parts(data) if 0xC0 <= data[start + 1] <= 0xC2]
    height = _any([b"\0\0", data[frames[0] + 5 : frames[0] + 7]], rng)
    return data[: frames[0] + 5] + height + data[frames[0] + 7 : -2] + dnl + data[-2:]


def _restarts(data: bytes, rng: Rng) -> bytes:
    """Restart markers where none are due, an interval that is not kept, and scans that begin again."""
    at = int(rng.integers(len(data) // 2, len(data)))
    marker = bytes([0xFF, 0xD0 + int(rng.integers(8))])
    scan = max(start for start, _ in _parts(data))
    interval = b"\xff\xdd\0\4" + int(rng.integers(65_536)).to_bytes(2, "big")
    return _any([data[:at] + marker + data[at:], data[:scan] + interval + data[scan:], data[:at] + data[scan:]], rng)


_ANY: dict[str, Callable[[bytes, Rng], bytes]] = {
    "cut short": _cut,
    "bits of the header": _header_bits,
    "bits of the pixels": _pixel_bits,
    "bits of a part": _part_bits,
    "wrong size": _size,
    "huge size": _huge,
    "another's magic": _magic,
    "zeros": _zeros,
    "junk": _junk,
    "parts in disorder": _shuffled_parts,
}
_JPEG_ALONE: dict[str, Callable[[bytes, Rng], bytes]] = {"DNL": _dnl, "restart markers": _restarts}
KINDS = (*_ANY, *_JPEG_ALONE)


def _any(choices: list[Any], rng: Rng) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _parts(data: bytes) -> Iterator[tuple[int, int]]:
    """Begin and end of each chunk of a sound PNG or WebP, of each segment of a JPEG up to its first scan's."""
    jpeg, png = data.startswith(b"\xff\xd8"), data.startswith(PNG_SIGNATURE)
    position, is_scan = (2, False) if jpeg else (8 if png else 12, False)
    while position < len(data) and not is_scan:
        if jpeg:
            is_scan, length = data[position + 1] == 0xDA, 2 + struct.unpack_from(">H", data, position + 2)[0]
        elif png:
            length = 12 + struct.unpack_from(">I", data, position)[0]
        else:
            length = 8 + struct.unpack_from("<I", data, position + 4)[0]
            length += length % 2
        yield position, position + length
        position += length


def _with_sound_crcs(data: bytes) -> bytes:
    """A PNG whose chunks' CRCs are right again, as far as its lengths still lead; anything else as it is."""
    file, position = bytearray(data), 8
    while data.startswith(PNG_SIGNATURE) and position + 12 <= len(data):
        end = position + 8 + struct.unpack_from(">I", data, position)[0]
        if end + 4 <= len(data):
            struct.pack_into(">I", file, end, zlib.crc32(data[position + 4 : end]))
        position = end + 4
    return bytes(file)

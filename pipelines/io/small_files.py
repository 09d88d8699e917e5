"""Writing small results, such as pictures and lists, at once: whole or not at all, and only where `outputs` allows."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from .outputs import PNG, PNG_MARK, Kind, check_output, is_null
from .publish import write_atomically, write_errors

if TYPE_CHECKING:
    from PIL import Image

_PNG_HEAD = 33  # bytes of signature and IHDR, behind which text may stand


def write_output(path: str | Path, data: bytes, kind: Kind) -> None:
    """Make `path` hold `data`, or leave it as it is and raise InputError."""
    path = Path(path)
    check_output(path, kind)
    with write_errors(path):
        if is_null(path):
            path.write_bytes(data)
        else:
            write_atomically(path, data)


def write_png(path: str | Path, picture: Image.Image) -> None:
    """Write a picture as PNG with sdali's mark, as write_output does."""
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    write_output(path, marked(encoded.getvalue()), PNG)


def marked(png: bytes) -> bytes:
    """The encoded PNG with the mark by which sdali knows what it may replace."""
    chunk = struct.pack(">I", len(PNG_MARK) - 4) + PNG_MARK + struct.pack(">I", zlib.crc32(PNG_MARK))
    return png[:_PNG_HEAD] + chunk + png[_PNG_HEAD:]

"""PNGs without the chunks that libpng remarks upon, for decoders that print its remarks.

libpng writes "libpng warning: iCCP: ..." to the standard error, naming no file, each time that it meets an odd colour
profile, time stamp or EXIF block: a line an image and epoch. None of these chunks changes the pixels that DALI or
OpenCV give, so decoders get the file without them. That costs a walk over the chunks, some microseconds a PNG, and a
copy of those that have such chunks; it works with any number of threads, as a redirected standard error would not.
"""

from __future__ import annotations

import struct

from .jpeg_png import PNG_SIGNATURE, TIFF_MARKS

_KEPT = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"})


def without_remarks(data: memoryview) -> memoryview:
    """The same image: `data` itself unless it is a PNG with chunks that do not matter; whole, as `probe` has found."""
    if data[:8] != PNG_SIGNATURE:
        return data
    pieces, position, kind, exif = [data[:8]], 8, b"", False
    while kind != b"IEND" and position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        orients = kind == b"eXIf" and not exif and data[position + 8 : position + 12] in TIFF_MARKS
        exif |= orients
        if kind in _KEPT and (kind != b"eXIf" or orients):
            pieces.append(data[position:end])
        position = end
    kept = sum(map(len, pieces))
    return data if kept == len(data) else memoryview(b"".join(pieces))

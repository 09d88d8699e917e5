"""What stands between a DALI decoder and an encoded image: its header is read first, and must not claim too many pixels.

DALI 2.4's decoders kill the process (SIGSEGV) where a header cannot be parsed in a batch of 48 or more, and take the
memory of whatever a PNG or WebP claims to be, even for a small window. So the start of the window is made to depend on
`fn.peek_image_shape`, which raises where there is no header, and moves far outside the image where that is too large,
which the decoder refuses before it takes memory.
"""

from __future__ import annotations

import nvidia.dali.fn as fn
from nvidia.dali.types import Constant, DALIDataType

from .dali import Node

_FAR = Constant(1 << 30, dtype=DALIDataType.INT32)  # px, beyond any image


def guarded(start: Node, shape: Node, max_pixels: int) -> Node:
    """`start`, int32 [2], of a window in an image whose peeked shape is int64 [3], unless it has too many pixels."""
    limit = Constant(max_pixels, dtype=DALIDataType.INT64)
    too_large: Node = shape[0] * shape[1] > limit
    return start + _FAR * fn.cast(too_large, dtype=DALIDataType.INT32)


def peeked_shape(encoded: Node) -> Node:
    """Height, width and channels by the header, EXIF orientation applied: int64 [3]."""
    return fn.peek_image_shape(encoded, dtype=DALIDataType.INT64)

"""The pixels that DALI serves, by OpenCV: for what is measured, shrunk or drawn, one image at a time on any thread."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from ..errors import InputError
from .header import probe
from .pillow import turned
from .quiet_png import without_remarks


def decode_bgr(data: bytes | memoryview, size: tuple[int, int], max_pixels: int) -> np.ndarray:
    """uint8 [H, W, 3], B, G, R, upright by the orientation that the header check found, as DALI has it.

    OpenCV's own reading of EXIF differs from DALI's in damaged blocks, so it does not count. Raises InputError where
    the file is not a sound image of that (height, width); before that is known nothing takes memory for pixels.
    """
    cv2 = _opencv()
    header = probe(data, max_pixels=max_pixels)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(without_remarks(memoryview(data)), np.uint8), flags)
    image = None if image is None else turned(np.asarray(image), header.orientation)  # of a TIFF OpenCV has turned it
    if image is None or image.shape[:2] != size:
        raise InputError("is damaged: its pixels cannot be decoded to its size")
    return image


@cache
def _opencv() -> Any:
    """OpenCV, imported when it is needed; its log is silenced, for its lines name no file, and the errors here do."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2

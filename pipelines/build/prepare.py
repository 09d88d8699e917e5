"""The steps of one sample from its source to a store: loading, header check, transcoding, shrinking."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..images.header import ImageHeader, NeedsTranscoding, probe
from ..images.jpeg_scan import scan_fault
from ..images.opencv import decode_bgr
from ..images.pillow import decode
from ..sources.mask_png import decode_mask, encode_mask
from ..sources.source import Loaded, SourceItem
from ..store.boxes import inside

_JPEG_QUALITY = 95  # our choice: what ImageNet-like sets are commonly re-encoded with


class Prepared(NamedTuple):
    """A sample as it goes into the store; `height` and `width` after EXIF orientation, `crc32` of the encoded image.

    `source_size`: height and width before it was shrunk. `clipped`, `dropped`: how many of its boxes reached beyond the
    image, and how many had nothing inside it; `inverted`: those of the latter whose minimum was above their maximum.
    """

    item: SourceItem
    content: Loaded
    height: int
    width: int
    source_size: tuple[int, int]
    crc32: int = 0
    clipped: int = 0
    dropped: int = 0
    inverted: int = 0


class Refused(NamedTuple):
    """A sample that cannot go into a store; "NAME REASON" makes a sentence."""

    item: SourceItem
    reason: str


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How samples are prepared; call it with an item. The options are those of `build`."""

    shorter_side: int | None = None
    transcode: bool = False
    max_pixels: int

    def __post_init__(self) -> None:
        if self.shorter_side is not None and self.shorter_side < 1:
            raise InputError(f"shorter_side must be at least 1 px, got {self.shorter_side}")
        if self.max_pixels < 1:
            raise InputError(f"max_pixels must be at least 1, got {self.max_pixels}")

    def __call__(self, item: SourceItem) -> Prepared | Refused:
        """Safe to call from several threads."""
        try:
            content = item.load()
            content, header = self._decodable(content)
            _check_mask(item, content.mask, header)
            size = header.height, header.width
            sample = _with_boxes_inside(Prepared(item, content, *size, source_size=size))
            if self.shorter_side:
                sample = _shrunk(sample, self.shorter_side, self.max_pixels)
            return sample._replace(crc32=zlib.crc32(sample.content.data))
        except InputError as error:
            return Refused(item, str(error))
        except OSError as error:
            return Refused(item, f"cannot be read: {error.strerror or error}")

    def _decodable(self, content: Loaded) -> tuple[Loaded, ImageHeader]:
        try:
            return content, probe(content.data, max_pixels=self.max_pixels)
        except NeedsTranscoding as error:
            data = self._transcoded(content.data, str(error))
            if not self.transcode:  # it has been tried, so that nobody is sent to an option that does not help
                raise InputError(f"{error} (transcode=True converts it)") from None
        return content._replace(data=data), probe(data, max_pixels=self.max_pixels)

    def _transcoded(self, data: bytes, form: str) -> bytes:
        """`data` of that form as JPEG; raises InputError, with what helps instead, where that does not work."""
        try:
            _check_scans(data)
            return _jpeg(decode(data, self.max_pixels)[:, :, ::-1])
        except InputError as error:
            raise InputError(f"{form}; transcoding does not help: it {error}") from None


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that ends early: what is made of it would look whole to every later check."""
    if (reason := scan_fault(data)) is not None:
        raise InputError(reason)


def _jpeg(image: np.ndarray) -> bytes:
    """uint8 [H, W, 3], B, G, R, as JPEG."""
    import cv2

    try:
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
    except cv2.error:
        height, width = image.shape[:2]
        raise InputError(f"has {height} x {width} px, more on one side than the 65,500 of a JPEG") from None


def _check_mask(item: SourceItem, mask: bytes | None, header: ImageHeader) -> None:
    if mask is None:
        return
    width, height = struct.unpack_from(">II", mask, 16)
    if (height, width) != (header.height, header.width):
        sizes = f"{height} x {width} px, but is itself {header.height} x {header.width} px"
        raise InputError(f"has the mask {item.mask_name or 'of its source'} of {sizes}: give it one of the same size")


def decoded_mask(item: SourceItem, mask: bytes) -> np.ndarray:
    """uint8 [H, W]; raises InputError with a reason that names the mask."""
    try:
        return decode_mask(mask)
    except InputError as error:
        raise InputError(f"has the mask {item.mask_name or 'of its source'}, which {error}") from None


def _with_boxes_inside(sample: Prepared) -> Prepared:
    content, size = sample.content, (sample.height, sample.width)
    if content.size not in (None, (0, 0), size):
        sizes = f"{content.size[0]} x {content.size[1]} px (height x width), but has {size[0]} x {size[1]} px"
        raise InputError(f"is annotated as {sizes} with its orientation applied: correct the size, or annotate again")
    if content.boxes is None:
        return sample
    boxes, clipped, dropped = inside(content.boxes, *size)
    edges = content.boxes.xyxy.reshape(-1, 4)
    inverted = int((edges[:, 2:] < edges[:, :2]).any(1).sum())
    content = content._replace(boxes=boxes)
    return sample._replace(content=content, clipped=clipped, dropped=dropped, inverted=inverted)


def _shrunk(sample: Prepared, shorter_side: int, max_pixels: int) -> Prepared:
    """The sample with its shorter side shrunk to `shorter_side` px, as it is where that would enlarge it.

    Image: decoded with its orientation, averaged over areas, JPEG; mask: nearest pixel; boxes: scaled.
    """
    import cv2

    scale = shorter_side / min(sample.height, sample.width)
    if scale >= 1:
        return sample
    height, width = max(round(sample.height * scale), 1), max(round(sample.width * scale), 1)
    content = sample.content
    _check_scans(content.data)
    image = decode_bgr(content.data, (sample.height, sample.width), max_pixels)
    data = _jpeg(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    mask, boxes = content.mask, content.boxes
    if mask is not None:
        pixels = decoded_mask(sample.item, mask)
        mask = encode_mask(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT))
    if boxes is not None:
        factors = np.array([width / sample.width, height / sample.height] * 2, np.float32)
        areas = None if boxes.areas is None else boxes.areas * (width * height / (sample.width * sample.height))
        boxes = boxes._replace(xyxy=boxes.xyxy * factors, areas=areas)
    return sample._replace(content=Loaded(data, mask, boxes), height=height, width=width)

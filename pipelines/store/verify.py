"""Decoding every image in full, with DALI, which finds damage that a check of headers cannot see.

Before that the codes of each JPEG are read to the end of its scans: DALI decodes one that ends early without an error,
and fills the rest with grey.

Two facts about DALI 2.4 shape the rest. A record whose header cannot be parsed, or that is smaller than the window, may
kill the process (one thread of the decoder raises and takes away what the others still work on). So headers are checked
before, and the decode depends on `fn.peek_image_shape`, which raises cleanly where DALI cannot read one. And an error
does not say which sample it was; so a failed batch is decoded again, one by one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, NamedTuple, TypeVar

import numpy as np

from ..errors import BadSampleError
from ..images.header import MAX_PIXELS, fault
from ..images.jpeg_scan import scan_fault
from ..images.quiet_png import without_remarks
from ..io.dali import require_dali
from ..io.parallel import worker_count
from ..io.progress import Track, track
from .reader import ImageStore

_BATCH = 16
_BATCH_PIXELS = 50_000_000  # bounds the memory of a batch of large pictures: 150 MB decoded
_FAILED = "does not decode in full: its pixels are damaged"

Item = TypeVar("Item")
Pair = tuple[bytes | memoryview, tuple[int, int]]  # encoded image, height and width


class BadSample(NamedTuple):
    """A sample that failed; "NAME REASON" makes a sentence."""

    index: int
    name: str
    reason: str


class FullDecode:
    """Decodes whole images on the CPU and says what is wrong with which. Raises InputError where DALI is missing."""

    def __init__(self, workers: int | None = None, *, max_pixels: int = MAX_PIXELS) -> None:
        self._dali, self._max_pixels = require_dali(), max_pixels
        self._threads = worker_count(workers)
        self._pool = ThreadPoolExecutor(self._threads)
        self._pipelines: dict[int, Any] = {}  # by batch size

    def reasons(self, images: Sequence[bytes | memoryview], sizes: Sequence[tuple[int, int]]) -> list[str | None]:
        """For each encoded image, None where it decodes to its (height, width), else why not; at most 16 a call."""
        pairs = list(zip(images, sizes, strict=True))
        reasons = list(self._pool.map(self._before_decoding, pairs))
        legible = [number for number, reason in enumerate(reasons) if reason is None]
        for number, reason in zip(legible, self._decoded([pairs[n] for n in legible], _BATCH), strict=True):
            reasons[number] = reason
        return reasons

    def _before_decoding(self, pair: Pair) -> str | None:
        image, size = pair
        return fault(image, size, self._max_pixels) or scan_fault(image)

    def checked(
        self, samples: Iterable[tuple[Item, bytes | memoryview | None, tuple[int, int]]]
    ) -> Iterator[tuple[Item, str | None]]:
        """Each item with what is wrong with its image, in order; samples are an item, its image (if any), its size."""
        for group in in_batches((sample, math.prod(sample[2])) for sample in samples):
            pairs = [(image, size) for _, image, size in group if image is not None]
            reasons = iter(self.reasons(*zip(*pairs, strict=True)) if pairs else ())
            yield from ((item, None if image is None else next(reasons)) for item, image, _ in group)

    def _decoded(self, pairs: list[Pair], batch: int) -> list[str | None]:
        """The outcomes of images with legible headers, decoded in one batch, or one by one where that fails."""
        if not pairs:
            return []
        try:
            if batch not in self._pipelines:
                self._pipelines[batch] = _pipeline(self._dali, batch, self._threads)
            return _outcomes(self._pipelines[batch], pairs)
        except RuntimeError:
            self._pipelines.pop(batch, None)  # DALI calls a pipeline invalid after an error
        return [_FAILED] if batch == 1 else [reason for pair in pairs for reason in self._decoded([pair], 1)]


def _pipeline(dali: Any, batch: int, threads: int) -> Any:
    """encoded uint8 [N], size int32 (2,) -> peeked shape int32 (3,), pixels HWC uint8."""
    fn, types = dali.fn, dali.types

    @dali.pipeline_def(batch_size=batch, num_threads=threads, device_id=None, prefetch_queue_depth=1)
    def full_decode():
        encoded = fn.external_source(name="encoded", dtype=types.UINT8, ndim=1)
        size = fn.external_source(name="size", dtype=types.INT32, ndim=1)
        shape = fn.peek_image_shape(encoded, dtype=types.INT32)
        pixels = fn.decoders.image_slice(encoded, start=shape[0:2] * 0, shape=size, axis_names="HW")
        return shape, pixels

    pipeline = full_decode()
    pipeline.build()
    return pipeline


def _outcomes(pipeline: Any, pairs: Sequence[Pair]) -> list[str | None]:
    """Runs one batch; raises RuntimeError where DALI cannot decode one of it."""
    pipeline.feed_input("encoded", [np.frombuffer(without_remarks(memoryview(image)), np.uint8) for image, _ in pairs])
    pipeline.feed_input("size", [np.array(size, np.int32) for _, size in pairs])
    shapes, _ = pipeline.run()
    peeked = [tuple(np.asarray(shapes.at(i))[:2]) for i in range(len(pairs))]
    return [
        None if found == tuple(size) else f"has {found[0]} x {found[1]} px, but is recorded with {size[0]} x {size[1]}"
        for found, (_, size) in zip(peeked, pairs, strict=True)
    ]


def in_batches(items: Iterable[tuple[Item, int]]) -> Iterator[list[Item]]:
    """Groups of at most 16 items, and of no more pixels than fit; `items` come with their pixels."""
    group: list[Item] = []
    pixels = 0
    for item, more in items:
        if group and (len(group) == _BATCH or pixels + more > _BATCH_PIXELS):
            yield group
            group, pixels = [], 0
        group.append(item)
        pixels += more
    if group:
        yield group


def verify_store(store: ImageStore, *, workers: int | None = None, progress: Track = track) -> list[BadSample]:
    """Every sample of the store that is damaged, in order: CRC32, full decode, mask and boxes are checked.

    Raises InputError where DALI is missing.
    """
    decoder = FullDecode(workers, max_pixels=store.max_pixels)

    def read(index: int) -> tuple[tuple[int, str | None], memoryview | None, tuple[int, int]]:
        try:
            (view,) = store.read([index])
            if store.has_masks and store.has_mask(index):
                store.mask(index)
            if store.has_boxes:
                store.boxes(index)
        except BadSampleError as error:
            return (index, error.reason), None, (0, 0)
        height, width = store.sizes[index].tolist()
        return (index, None), view, (height, width)

    with closing(progress(range(len(store)), len(store), "verifying")) as indices:
        found = [(index, before or after) for (index, before), after in decoder.checked(map(read, indices))]
    return [BadSample(index, store.names[index], reason) for index, reason in found if reason]

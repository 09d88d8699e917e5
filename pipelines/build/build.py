"""Building stores from a source: prepare, on threads where that pays, write in order, publish when complete.

The same source and options give the same file, byte for byte, with any number of workers. A bad sample stops the build
before anything is published, or is left out and listed.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..images.parts import MAX_PIXELS
from ..io.bounds import checked_seed
from ..io.parallel import adaptive_map
from ..io.progress import Track, track
from ..sources.source import Source
from ..store.join import ShardedWriter
from ..store.verify import FullDecode, in_batches
from ..store.writer import StoreWriter
from .box_report import BoxTally
from .prepare import Preparation, Prepared, Refused
from .split import is_validation, split_paths

Writer = StoreWriter | ShardedWriter


def build(
    source: Source,
    store_path: str | Path,
    *,
    split: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    shorter_side: int | None = None,
    transcode: bool = False,
    verify: bool = False,
    max_pixels: int = MAX_PIXELS,
    skip_bad: bool = False,
    shard_bytes: int | None = None,
    overwrite: bool = False,
    progress: Track = track,
) -> dict[str, Any]:
    """Write `source` into one store, or with `split` (the share that trains) into STORE.train and STORE.val.

    `seed` decides who validates; `shorter_side` shrinks what is larger; `transcode` turns what DALI does not decode
    into JPEG; `verify` decodes everything in full; `skip_bad` leaves bad samples out; `shard_bytes` makes a folder of
    files of about that size, see store_shards.
    Returns a JSON-able report: stores (paths), images, classes (counts), bytes (of the files), skipped (name and reason
    of each), seconds, images_per_second, and where the source has boxes what BoxTally counts. Raises InputError for the
    first bad sample, for nothing left, and for what StoreWriter refuses; then nothing is published.
    """
    begun = time.perf_counter()
    if shard_bytes is not None and shard_bytes < 1:
        raise InputError(f"shards must have at least one byte, got {shard_bytes}")
    preparation = Preparation(shorter_side=shorter_side, transcode=transcode, max_pixels=max_pixels)
    items, path = source.items, Path(store_path)
    if split is None:
        paths, parts = (path,), [False] * len(items)
    else:
        paths, parts = split_paths(path), is_validation(items, split, checked_seed(seed))
    outcomes: Generator[Prepared | Refused, None, None] = adaptive_map(preparation, items, workers)
    if verify:
        outcomes = _decoded(outcomes, FullDecode(workers, max_pixels=max_pixels))
    provenance = {"source": source.description, "split": split, "seed": seed, **asdict(preparation)}
    with ExitStack() as stack:
        writers: list[Writer] = []
        for target in paths:
            writers.append(_writer(source, target, overwrite, shard_bytes, provenance))
            stack.callback(writers[-1].discard)
        stack.enter_context(closing(outcomes))
        tracked = stack.enter_context(closing(progress(outcomes, len(items), "building")))
        tally = BoxTally(source.classes)
        skipped = _fill(writers, zip(tracked, parts, strict=True), skip_bad, tally)
        _publish(writers, skipped)
    report = _report(source, writers, skipped, time.perf_counter() - begun)
    return {**report, **tally.report()} if source.has_boxes else report


def _writer(source: Source, path: Path, overwrite: bool, shard_bytes: int | None, provenance: dict[str, Any]) -> Writer:
    declaration: dict[str, Any] = {
        "classes": source.classes,
        "has_masks": source.has_masks,
        "has_boxes": source.has_boxes,
        "ignore_index": source.ignore_index,
        "provenance": provenance,
    }
    if shard_bytes is None:
        return StoreWriter(path, overwrite=overwrite, **declaration)
    return ShardedWriter(path, shard_bytes=shard_bytes, overwrite=overwrite, **declaration)


def _decoded(outcomes: Iterable[Prepared | Refused], decoder: FullDecode) -> Generator[Prepared | Refused, None, None]:
    """The same samples in the same order; those whose pixels or mask do not decode are refused."""
    sized = ((each, each.height * each.width if isinstance(each, Prepared) else 0) for each in outcomes)
    for group in in_batches(sized):
        samples = [each for each in group if isinstance(each, Prepared)]
        sizes = [(sample.height, sample.width) for sample in samples]
        reasons = decoder.reasons([sample.content.data for sample in samples], sizes) if samples else []
        bad = {id(sample): reason or _mask_reason(sample) for sample, reason in zip(samples, reasons, strict=True)}
        for each in group:
            reason = bad.get(id(each))
            yield Refused(each.item, reason) if reason else each


def _mask_reason(sample: Prepared) -> str | None:
    if sample.content.mask is None:
        return None
    import cv2

    pixels = cv2.imdecode(np.frombuffer(sample.content.mask, np.uint8), cv2.IMREAD_UNCHANGED)
    return f"has the damaged mask {sample.item.mask_name}" if pixels is None else None


def _fill(
    writers: list[Writer],
    outcomes: Iterable[tuple[Prepared | Refused, bool]],
    skip_bad: bool,
    tally: BoxTally,
) -> list[dict[str, str]]:
    """Add every sample to the writer of its part (False: the first), and to the tally; returns the refused ones, or
    raises for one.
    """
    skipped = []
    for outcome, part in outcomes:
        if isinstance(outcome, Prepared):
            _add(writers[part], outcome)
            tally.add(outcome)
        elif skip_bad:
            skipped.append({"name": outcome.item.name, "reason": outcome.reason})
        else:
            hint = "correct or remove it, or pass --skip-bad to build without it"
            raise InputError(f"{outcome.item.name} {outcome.reason}; {hint}")
    return skipped


def _add(writer: Writer, sample: Prepared) -> None:
    writer.add(
        sample.content.data,
        label=sample.item.label,
        height=sample.height,
        width=sample.width,
        name=sample.item.name,
        mask=sample.content.mask,
        boxes=sample.content.boxes,
        crc32=sample.crc32,
    )


def _publish(writers: list[Writer], skipped: list[dict[str, str]]) -> None:
    """All stores are complete on disk before the first gets its name."""
    for writer in writers:
        if not len(writer) and skipped:
            first = skipped[0]
            raise InputError(
                f"nothing is left for {writer.path}: all {len(skipped)} samples are bad, the first: "
                f"{first['name']} {first['reason']}"
            )
        writer.finish()
    for writer in writers:
        writer.publish()


def _report(source: Source, writers: list[Writer], skipped: list[dict[str, str]], seconds: float) -> dict[str, Any]:
    images = sum(len(writer) for writer in writers)
    return {
        "stores": [str(writer.path) for writer in writers],
        "images": images,
        "classes": len(source.classes),
        "bytes": sum(writer.file_bytes for writer in writers),
        "skipped": skipped,
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds, 1),
    }

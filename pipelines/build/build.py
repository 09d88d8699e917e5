"""Building stores from a source: prepare samples on several threads, write them in order, publish what is complete.

The same source and options give the same file, byte for byte, with any number of workers. A bad sample stops the build
before anything is published, or is left out and listed.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..images.header import MAX_PIXELS
from ..io.bounds import checked_seed
from ..io.parallel import adaptive_map
from ..io.progress import Track, track
from ..sources.source import LeftOut, Source, SourceItem
from ..store.join import ShardedWriter
from ..store.verify import FullDecode
from ..store.writer import StoreWriter
from .prepare import Preparation, Prepared, Refused, decoded_mask

Writer = StoreWriter | ShardedWriter
TRAIN, VAL = 0, 1  # of the two stores of a split


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
    strict: bool = False,
    shard_bytes: int | None = None,
    overwrite: bool = False,
    progress: Track = track,
) -> dict[str, Any]:
    """Write `source` into one store; with `split`, into two beside it, STORE.train and STORE.val.

    Args:
        split: share of every class that trains, in (0, 1); `seed` decides which images these are.
        workers: threads; None: one a core.
        shorter_side: shrink images whose shorter side is longer, in pixels.
        transcode: convert images of forms that decoders do not read alike into JPEG.
        verify: decode every image in full before anything is published; a JPEG whose data end early is refused.
        max_pixels: refuse images with more pixels, before they are decoded.
        skip_bad: leave out samples that cannot be used.
        strict: refuse a source of which anything is left out: files that are no images, boxes outside their image.
        shard_bytes: make the store a folder of files of about this size, see store/shards.py.
        overwrite: replace a store that exists.

    Returns a JSON-able report: stores (paths), images, classes (counts), bytes (of the files), skipped (name and reason
    of each), left_out (what LeftOut.report counts, of the source's files and of boxes), seconds, images_per_second, and
    where the source has boxes the figures of BoxTally.report. Raises InputError for the first bad sample, where no
    sample is left, for what the writer refuses, and for anything left out where that is not allowed; then nothing is
    published.
    """
    begun = time.perf_counter()
    if shard_bytes is not None and shard_bytes < 1:
        raise InputError(f"shard_bytes must be at least 1, got {shard_bytes}")
    preparation = Preparation(shorter_side=shorter_side, transcode=transcode, max_pixels=max_pixels)
    items, path = source.items, Path(store_path)
    _check_strict(strict, source.left_out)
    if split is None:
        paths, parts = (path,), [TRAIN] * len(items)
    else:
        paths, parts = split_paths(path), split_parts(items, split, checked_seed(seed))
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
        _check_strict(strict, tally.left_out)
        _publish(writers, skipped)
    report = _report(source, writers, skipped, time.perf_counter() - begun)
    report["left_out"] = source.left_out.report() | tally.left_out.report()
    return {**report, **tally.report()} if source.has_boxes else report


def _check_strict(strict: bool, left_out: LeftOut) -> None:
    """Raise InputError where something is left out and must not be."""
    kinds = left_out.report().items() if strict else ()
    if texts := [f"{kind} ({one['count']:,}, such as {', '.join(one['examples'])})" for kind, one in kinds]:
        raise InputError(f"left out would be {'; '.join(texts)}: correct or move them, or leave out strict=True")


def _writer(source: Source, path: Path, overwrite: bool, shard_bytes: int | None, provenance: dict[str, Any]) -> Writer:
    declaration: dict[str, Any] = {
        "classes": source.classes,
        "has_masks": source.has_masks,
        "has_boxes": source.has_boxes,
        "ignore_index": source.ignore_index,
        "category_ids": source.category_ids,
        "has_areas": source.has_areas,
        "provenance": provenance,
    }
    if shard_bytes is None:
        return StoreWriter(path, overwrite=overwrite, **declaration)
    return ShardedWriter(path, shard_bytes=shard_bytes, overwrite=overwrite, **declaration)


def _decoded(outcomes: Iterable[Prepared | Refused], decoder: FullDecode) -> Generator[Prepared | Refused, None, None]:
    """The same samples in the same order; those whose pixels or mask do not decode are refused."""
    samples = (
        (each, each.content.data, (each.height, each.width)) if isinstance(each, Prepared) else (each, None, (0, 0))
        for each in outcomes
    )
    for each, reason in decoder.checked(samples):
        if isinstance(each, Prepared) and (wrong := reason or _mask_reason(each)):
            yield Refused(each.item, wrong)
        else:
            yield each


def _mask_reason(sample: Prepared) -> str | None:
    try:
        if sample.content.mask is not None:
            decoded_mask(sample.item, sample.content.mask)
    except InputError as error:
        return str(error)
    return None


def _fill(
    writers: list[Writer],
    outcomes: Iterable[tuple[Prepared | Refused, int]],
    skip_bad: bool,
    tally: BoxTally,
) -> list[dict[str, str]]:
    """Add every sample to the writer of its part and to the tally; returns the refused samples, or raises for one."""
    skipped = []
    for outcome, part in outcomes:
        if isinstance(outcome, Prepared):
            item, content = outcome.item, outcome.content
            writers[part].add(
                content.data,
                label=item.label,
                height=outcome.height,
                width=outcome.width,
                name=item.name,
                mask=content.mask,
                boxes=content.boxes,
                crc32=outcome.crc32,
                image_id=item.image_id,
                source_size=outcome.source_size,
            )
            tally.add(outcome)
        elif skip_bad:
            skipped.append({"name": outcome.item.name, "reason": outcome.reason})
        else:
            hint = "correct or remove it, or pass skip_bad=True to build without it"
            raise InputError(f"{outcome.item.name} {outcome.reason}; {hint}")
    return skipped


def _publish(writers: list[Writer], skipped: list[dict[str, str]]) -> None:
    """All stores are complete on disk before the first gets its name."""
    for writer in writers:
        if not len(writer) and skipped:
            first = skipped[0]
            raise InputError(
                f"no sample is left for {writer.path}: {len(skipped)} are bad, the first of them: "
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


def split_paths(store_path: Path) -> tuple[Path, Path]:
    """Paths of the two stores of a split: pets.lmdb -> pets.train.lmdb, pets.val.lmdb."""
    train, val = (store_path.with_name(f"{store_path.stem}.{part}{store_path.suffix}") for part in ("train", "val"))
    return train, val


def split_parts(items: Sequence[SourceItem], share: float, seed: int) -> list[int]:
    """TRAIN or VAL for each item; `share` of every class trains.

    Within a class the items with the smallest SHA-256 of (seed, name) validate, so that a photograph mostly stays in
    its part when others are added or removed (our choice). Of a class with two images or more, each part gets at least
    one; a single image trains. Raises InputError for a share outside (0, 1), and where no image would validate.
    """
    if not 0 < share < 1:
        raise InputError(f"split must lie between 0 and 1, as the share that trains, got {share}")
    by_class: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    for number, item in enumerate(items):
        text = f"{seed}:{item.name}".encode("utf-8", "surrogateescape")
        by_class[item.label].append((hashlib.sha256(text).digest(), number))
    parts = [TRAIN] * len(items)
    for members in by_class.values():
        count = min(max(round(len(members) * (1 - share)), 1), len(members) - 1)
        for _, number in sorted(members)[:count]:
            parts[number] = VAL
    if VAL not in parts:
        raise InputError("split needs a class with two images or more; build one store instead")
    return parts


class BoxTally:
    """Counts the objects of the samples that go into a store, and the boxes that did not fit their image."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._objects = np.zeros(len(self._classes), np.int64)
        self._counts = np.zeros(4, np.int64)
        self.left_out = LeftOut()

    def add(self, sample: Prepared) -> None:
        """Count one sample that goes into the store."""
        if (boxes := sample.content.boxes) is not None:
            self._objects += np.bincount(boxes.labels, minlength=len(self._objects))
            self._counts += [sample.clipped, sample.dropped, boxes.difficult.sum(), not len(boxes.labels)]
            for kind, count in (
                ("boxes whose minimum is above their maximum", sample.inverted),
                ("boxes with nothing inside their image", sample.dropped - sample.inverted),
            ):
                if count:
                    self.left_out.add(kind, sample.item.name, count)

    def report(self) -> dict[str, Any]:
        """JSON-able: `boxes` that were kept; `boxes_clipped`, those of them that reached beyond the image;
        `boxes_dropped`, those that had nothing inside; `objects` by class; `difficult`; `images_without_objects`.
        """
        clipped, dropped, difficult, without = self._counts.tolist()
        return {
            "boxes": int(self._objects.sum()),
            "boxes_clipped": clipped,
            "boxes_dropped": dropped,
            "objects": dict(zip(self._classes, self._objects.tolist(), strict=True)),
            "difficult": difficult,
            "images_without_objects": without,
        }

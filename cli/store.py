"""`sdali build`, `join`, `info` and `stats`: making image stores, and looking at them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from ..pipelines.build.build import build, split_paths
from ..pipelines.errors import InputError
from ..pipelines.images.header import MAX_PIXELS
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_apart, check_output, paths_in
from ..pipelines.io.terminal import print_table
from ..pipelines.store.join import join
from ..pipelines.store.measure import has_classes_of_objects, summary
from ..pipelines.store.reader import ImageStore
from .formats import FormatName, FormatOptions, source_of

_CLASSES_SHOWN = 20
LARGEST_SHARD_GB = 1_000_000  # a petabyte, more than a file system takes in one file


@dataclass(frozen=True, kw_only=True)
class Build:
    """Flags of `sdali build`."""

    source: Positional[str]
    """The images: a folder or a file, as --format describes it."""

    store: Positional[Path]
    """Path of the new store, such as pets.lmdb."""

    format: FormatName = "folder"

    options: Annotated[FormatOptions, OmitArgPrefixes, arg(name="format")] = field(default_factory=FormatOptions)

    split: float | None = None
    """Build two stores beside STORE, such as pets.train.lmdb and pets.val.lmdb. The value is the share of every class
    that trains, between 0 and 1."""

    seed: int = 0
    """Decides which images --split gives to which store, and what the format scenes draws."""

    workers: int | None = None
    """Number of threads. None: one for each core."""

    shorter_side: int | None = None
    """Shrink images whose shorter side is longer than this, in pixels. None: keep the files byte for byte."""

    transcode: bool = False
    """Convert images of forms that decoders do not read alike (GIF, AVIF, 16-bit BMP, ...) into JPEG."""

    verify: bool = False
    """Decode every image in full before the store is published, and read the data of each JPEG to the end."""

    max_pixels: int = MAX_PIXELS
    """Refuse images with more pixels. Loaders refuse images above the default; raise theirs with
    ImageStore(path, max_pixels=...)."""

    skip_bad: bool = False
    """Leave out the images that cannot be used, and list them."""

    strict: bool = False
    """Refuse a source of which anything would be left out, such as files that are no images, or boxes outside their
    image. Without it they are counted and the first of each kind are named."""

    shard_gb: float | None = None
    """Make STORE a folder of files of about this size, in GB; it opens as one store."""

    overwrite: bool = False
    """Replace a store that exists."""

    def run(self) -> dict[str, Any]:
        for target in (self.store,) if self.split is None else split_paths(self.store):
            check_apart(target, [Path(self.source), *paths_in(self, besides=["store"])])
        source = source_of(self.source, self.format, self.options, seed=self.seed, max_pixels=self.max_pixels)
        report = build(
            source,
            self.store,
            split=self.split,
            seed=self.seed,
            workers=self.workers,
            shorter_side=self.shorter_side,
            transcode=self.transcode,
            verify=self.verify,
            max_pixels=self.max_pixels,
            skip_bad=self.skip_bad,
            strict=self.strict,
            shard_bytes=None if self.shard_gb is None else _bytes(self.shard_gb),
            overwrite=self.overwrite,
            progress=track,
        )
        if left_out := report["left_out"]:
            rows = [[kind, f"{one['count']:,}", ", ".join(one["examples"])] for kind, one in left_out.items()]
            print_table("left out", ["what", "number", "such as"], rows)
        if report["skipped"]:
            named = [[one["name"], one["reason"]] for one in report["skipped"]]
            counts = Counter(reason for _, reason in named).most_common()
            counted = [[f"{count:,}", reason] for reason, count in counts]
            print_table(f"{len(named):,} images left out, by reason", ["images", "reason"], counted)
            print_table("images left out", ["image", "reason"], named)
        return report


@dataclass(frozen=True, kw_only=True)
class Join:
    """Flags of `sdali join`."""

    store: Positional[Path]
    """Path of the new folder, which opens as one store."""

    files: Positional[tuple[Path, ...]]
    """Store files, in the order of the new store. They stay where they are. Their classes are united by name; an image
    without a class stays so."""

    overwrite: bool = False
    """Replace a folder that is a store."""

    def run(self) -> dict[str, Any]:
        digest = join(self.store, self.files, overwrite=self.overwrite)
        images = len(ImageStore(self.store))
        return {"store": str(self.store), "files": len(self.files), "images": images, "digest": digest}


@dataclass(frozen=True, kw_only=True)
class Info:
    """Flags of `sdali info`."""

    store: Positional[Path]
    """An image store."""

    verify: bool = False
    """Read every record, check its CRC32, and decode it in full."""

    def run(self) -> dict[str, Any]:
        store = ImageStore(self.store)
        result = summary(store)
        _show_classes(store, result)
        return {**result, **self._verified(store)} if self.verify else result

    def _verified(self, store: ImageStore) -> dict[str, Any]:
        from ..pipelines.store.verify import verify_store

        bad = verify_store(store, progress=track)
        if bad:
            rows = [[str(entry.index), entry.name, entry.reason] for entry in bad]
            print_table("bad records", ["index", "image", "reason"], rows)
            count = f"{len(bad)} of {len(store)} records of {self.store}"
            raise InputError(f"{count} are bad, the first is {bad[0].name}; build it again")
        return {"verified": True}


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Flags of `sdali stats`."""

    store: Positional[Path]
    """An image store."""

    out: Path | None = None
    """File to write. None: STORE.stats.json beside the store, where its loaders find it; of another file they are told
    by sdali train --statistics FILE, or statistics=FILE in Python."""

    workers: int | None = None
    """Number of threads. None: one for each core."""

    overwrite: bool = False
    """Replace a file that exists."""

    def run(self) -> dict[str, Any]:
        from ..pipelines.store.measure import measure, save
        from ..pipelines.store.statistics import statistics_path

        store = ImageStore(self.store)
        path = self.out or statistics_path(store.path)
        if self.out is None and not os.access(path.parent, os.W_OK):
            elsewhere = "pass --out FILE, a file that sdali train --statistics takes"
            raise InputError(f"cannot write {path}: nothing may be written into {path.parent}; {elsewhere}")
        check_output(path, overwrite=self.overwrite, inputs=[store.path])
        statistics = measure(store, workers=self.workers, progress=track)
        save(store, statistics, path, overwrite=self.overwrite)
        names = ["red", "green", "blue"]
        rows = [[n, f"{m:.4f}", f"{s:.4f}"] for n, m, s in zip(names, statistics.mean, statistics.std, strict=True)]
        print_table(f"{self.store}, pixels on [0, 1]", ["channel", "mean", "std"], rows)
        return {"file": str(path), **statistics.to_dict()}


def _bytes(gigabytes: float) -> int:
    if not 0 < gigabytes <= LARGEST_SHARD_GB:
        raise InputError(f"--shard-gb must be above 0 and at most {LARGEST_SHARD_GB:,}, got {gigabytes}")
    return max(round(gigabytes * 1e9), 1)


def _show_classes(store: ImageStore, result: dict[str, Any]) -> None:
    """A table of the first classes, with the number of images and of objects where these have classes."""
    of_pixels = store.ignore_index is not None
    columns: dict[str, dict[str, int]] = {}
    if not of_pixels:
        columns["images with it" if has_classes_of_objects(store) else "images"] = result["classes"]
    if store.has_boxes:
        columns["objects"] = result["objects"]
    shown = store.classes[:_CLASSES_SHOWN]
    rows = [[name, *(f"{counts[name]:,}" for counts in columns.values())] for name in shown]
    if len(store.classes) > len(shown):
        rows.append([f"and {len(store.classes) - len(shown)} more", *("" for _ in columns)])
    print_table(f"{store.path}: {len(store):,} images", ["class of pixels" if of_pixels else "class", *columns], rows)

"""`sdali build`, `join`, `info` and `stats`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Positional

from ..pipelines.build.build import build
from ..pipelines.build.split import split_paths
from ..pipelines.errors import InputError
from ..pipelines.images.parts import MAX_PIXELS
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_apart, check_output, paths_in
from ..pipelines.io.terminal import print_table
from ..pipelines.sources.masks import Preset
from ..pipelines.store.join import join
from ..pipelines.store.reader import ImageStore
from .build_source import source_of

_CLASSES_SHOWN = 20
LARGEST_SHARD_GB = 1_000_000  # a petabyte, more than a file system takes in one file


@dataclass(frozen=True, kw_only=True)
class Build:
    """Flags of `sdali build`."""

    source: Positional[str]
    """A folder of images, an HDF5 file, a tar file or a folder of them; for voc, ilsvrc-loc and --preset the data set's
    folder; for --format scenes the number of pictures to generate."""

    store: Positional[Path]
    """The store to be, such as pets.lmdb."""

    format: Literal["folder", "masks", "voc", "coco", "ilsvrc-loc", "hdf5", "webdataset", "scenes"] = "folder"
    """folder: sub-folders are classes, images anywhere below them. masks: images whose pixels have classes, for scene
    parsing: with --masks and --class-names, or with --preset. voc: JPEGImages/, Annotations/, ImageSets/Main/ with
    --subset. coco: images of --annotations FILE.json. ilsvrc-loc: Data/, Annotations/, ImageSets/, devkit/ of ILSVRC's
    classification and localization, with --subset. hdf5: a dataset of encoded images (variable-length uint8) or of
    pixels (uint8), one row each. webdataset: tar files of images and classes (0001.jpg, 0001.cls). scenes: generated
    pictures with masks and boxes."""

    masks: Path | None = None
    """folder, masks: masks of the images, PNG of class indices, found by the images' names."""

    annotations: Path | None = None
    """coco: the JSON file. folder: a folder of VOC XML files, found by the images' names; each box is of its image's
    class."""

    boxes_from_masks: tuple[int, ...] = ()
    """folder: a box of the image's class around all pixels of these values in its mask, such as 1 3."""

    class_names: Path | None = None
    """masks: a text file of the classes, one a line for the mask values 0, 1, ... without --ignore-index, or
    "VALUE: name". voc: the classes, one a line. None: those in Annotations/, sorted. webdataset: the classes, one a
    line, in the order of their integers. None: "0", "1", ..."""

    ignore_index: int | None = None
    """masks: the value of pixels without a class. None: 255, or the preset's."""

    preset: Preset | None = None
    """masks: SOURCE is laid out as the authors of this set did. camvid: train/, trainannot/, val/, valannot/. ade20k:
    images/training/, annotations/training/, and validation/; its values 1 to 150 become classes 0 to 149, its 0 is
    ignored."""

    subset: str | None = None
    """--preset: which part, train or val. None: train. voc: the name of a list in ImageSets/Main/. None: all images.
    ilsvrc-loc: train_loc, train_cls or val. None: train_loc."""

    images_dataset: str = "images"
    """hdf5: where the images are."""

    labels_dataset: str | None = "labels"
    """hdf5: their classes, integers, -1 for none. None: images without classes."""

    classes_dataset: str | None = None
    """hdf5: names of the classes, in the order of the labels. None: "0", "1", ..."""

    names_dataset: str | None = None
    """hdf5: names of the images. None: by position, 0000000.jpg or .png."""

    masks_dataset: str | None = None
    """hdf5: masks, uint8 pixels or variable-length PNG of class indices."""

    classes: int = 6
    """scenes: number of classes."""

    objects: int = 1
    """scenes: most objects a picture, of any classes. More than 1: pictures have no class of their own."""

    seed: int = 0
    """Of --split and of the scenes."""

    split: float | None = None
    """Share of each class, or of all images where they have none (masks), that goes to STORE.train.lmdb; the rest to
    STORE.val.lmdb."""

    workers: int | None = None
    """Threads. None: one a core."""

    shorter_side: int | None = None
    """Shrink images whose shorter side is larger, in pixels; by default bytes are kept as they came."""

    transcode: bool = False
    """Turn what DALI cannot decode (GIF, ...) into JPEG."""

    verify: bool = False
    """Decode every image in full before the store is published."""

    max_pixels: int = MAX_PIXELS
    """Refuse images of more pixels than this. Loaders have the default as a limit of their own, see ImageStore."""

    skip_bad: bool = False
    """Build without the images that cannot be used, and list them."""

    shard_gb: float | None = None
    """Make STORE a folder of files of about so many GB, which opens as one store."""

    overwrite: bool = False
    """Replace a store that exists."""

    def run(self) -> dict[str, Any]:
        for target in (self.store,) if self.split is None else split_paths(self.store):
            check_apart(target, [Path(self.source), *paths_in(self, besides=["store"])])
        report = build(
            source_of(self),
            self.store,
            split=self.split,
            seed=self.seed,
            workers=self.workers,
            shorter_side=self.shorter_side,
            transcode=self.transcode,
            verify=self.verify,
            max_pixels=self.max_pixels,
            skip_bad=self.skip_bad,
            shard_bytes=None if self.shard_gb is None else _bytes(self.shard_gb),
            overwrite=self.overwrite,
            progress=track,
        )
        if report["skipped"]:
            print_table(
                "left out", ["image", "reason"], [[entry["name"], entry["reason"]] for entry in report["skipped"]]
            )
        return report


@dataclass(frozen=True, kw_only=True)
class Join:
    """Flags of `sdali join`."""

    store: Positional[Path]
    """The folder to be, which opens as one store."""

    files: Positional[tuple[Path, ...]]
    """Store files of the same classes, in the order that their images are to have; they stay where they are."""

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
    """Read every record, check its CRC32 and decode it in full."""

    def run(self) -> dict[str, Any]:
        store = ImageStore(self.store)
        of_pixels = store.ignore_index is not None
        counts = np.bincount(store.labels[store.labels >= 0], minlength=len(store.classes)).tolist()
        labelled = not of_pixels and not (store.has_boxes and (store.labels < 0).all())
        columns: dict[str, list[int]] = {"images": counts} if labelled else {}
        objects = _objects(store) if store.has_boxes else {}
        if objects:
            columns["objects"] = list(objects["objects"].values())
        rows = [
            [name, *(f"{value:,}" for value in values)]
            for name, *values in zip(store.classes, *columns.values(), strict=True)
        ]
        if len(rows) > _CLASSES_SHOWN:
            rows = [*rows[:_CLASSES_SHOWN], [f"and {len(rows) - _CLASSES_SHOWN} more", *("" for _ in columns)]]
        title = f"{self.store}: {len(store):,} images"
        print_table(title, ["class of pixels" if of_pixels else "class", *columns], rows)
        result: dict[str, Any] = {
            "store": str(self.store),
            "images": len(store),
            "classes": list(store.classes) if of_pixels else dict(zip(store.classes, counts, strict=True)),
            "unlabelled": int((store.labels < 0).sum()),
            "bytes": store.file_bytes,
            "height": _range(store.sizes[:, 0]),
            "width": _range(store.sizes[:, 1]),
            "masks": store.has_masks,
            "ignore_index": store.ignore_index,
            "boxes": store.has_boxes,
            **objects,
            "digest": store.digest,
            "statistics": store.statistics is not None,
            "provenance": store.header["provenance"],
        }
        return {**result, **self._verified(store)} if self.verify else result

    def _verified(self, store: ImageStore) -> dict[str, Any]:
        from ..pipelines.store.verify import verify_store

        bad = verify_store(store, progress=track)
        if bad:
            rows = [[str(entry.index), entry.name, entry.reason] for entry in bad]
            print_table("bad records", ["index", "image", "reason"], rows)
            raise InputError(
                f"{len(bad)} of {len(store)} records of {self.store} are bad, first {bad[0].name}; build it again"
            )
        return {"verified": True}


@dataclass(frozen=True, kw_only=True)
class Stats:
    """Flags of `sdali stats`."""

    store: Positional[Path]
    """An image store; the result is written to STORE.stats.json beside it."""

    workers: int | None = None
    """Threads. None: one a core."""

    overwrite: bool = False
    """Replace statistics that exist."""

    def run(self) -> dict[str, Any]:
        from ..pipelines.store.measure import measure, save
        from ..pipelines.store.statistics import statistics_path

        store = ImageStore(self.store)
        check_output(statistics_path(store.path), overwrite=self.overwrite)
        statistics = measure(store, workers=self.workers, progress=track)
        path = save(store, statistics, overwrite=self.overwrite)
        names = ["red", "green", "blue"]
        rows = [[n, f"{m:.4f}", f"{s:.4f}"] for n, m, s in zip(names, statistics.mean, statistics.std, strict=True)]
        print_table(f"{self.store}, pixels on [0, 1]", ["channel", "mean", "std"], rows)
        return {"file": str(path), **statistics.to_dict()}


def _bytes(gigabytes: float) -> int:
    if not 0 < gigabytes <= LARGEST_SHARD_GB:
        raise InputError(f"--shard-gb must be above 0 and at most {LARGEST_SHARD_GB:,}, got {gigabytes}")
    return max(round(gigabytes * 1e9), 1)


def _objects(store: ImageStore) -> dict[str, Any]:
    found = store.objects()
    counts = np.bincount(found.labels, minlength=len(store.classes)).tolist()
    return {
        "objects": dict(zip(store.classes, counts, strict=True)),
        "difficult": int(found.difficult.sum()),
        "images_without_objects": len(store) - len(np.unique(found.images)),
    }


def _range(values: np.ndarray) -> dict[str, float]:
    return {"min": int(values.min()), "mean": round(float(values.mean()), 1), "max": int(values.max())}

"""`sdali build`, `info` and `stats`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tyro.conf import Positional

from ..pipelines.build import build
from ..pipelines.errors import InputError
from ..pipelines.image_parts import MAX_PIXELS
from ..pipelines.progress import track
from ..pipelines.sources import Source
from ..pipelines.sources_parsing import Preset, Subset
from ..pipelines.store_read import ImageStore
from .tables import show

_CLASSES_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Build:
    """Flags of `sdali build`."""

    source: Positional[str]
    """A folder of images, or an HDF5 file; for --preset the data set's folder; for --format scenes the number of
    pictures to generate."""

    store: Positional[Path]
    """The store to be, such as pets.lmdb."""

    format: Literal["folder", "masks", "hdf5", "scenes"] = "folder"
    """folder: sub-folders are classes, images anywhere below them. masks: images whose pixels have classes, for scene
    parsing: with --masks and --class-names, or with --preset. hdf5: a dataset of encoded images (variable-length
    uint8) or of pixels (uint8), one row each. scenes: generated pictures with masks and boxes."""

    masks: Path | None = None
    """folder, masks: masks of the images, PNG of class indices, found by the images' names."""

    class_names: Path | None = None
    """masks: a text file of the classes, one a line for the mask values 0, 1, ... without --ignore-index, or
    "VALUE: name"."""

    ignore_index: int | None = None
    """masks: the value of pixels without a class. None: 255, or the preset's."""

    preset: Preset | None = None
    """masks: SOURCE is laid out as the authors of this set did. camvid: train/, trainannot/, val/, valannot/. ade20k:
    images/training/, annotations/training/, and validation/; its values 1 to 150 become classes 0 to 149, its 0 is
    ignored."""

    subset: Subset = "train"
    """--preset: which part."""

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

    seed: int = 0
    """Of --split and of the scenes."""

    split: float | None = None
    """Share of each class that goes to STORE.train.lmdb; the rest goes to STORE.val.lmdb."""

    workers: int | None = None
    """Threads. None: one a core."""

    shorter_side: int | None = None
    """Shrink images whose shorter side is larger, in pixels; by default bytes are kept as they came."""

    transcode: bool = False
    """Turn what DALI cannot decode (GIF, ...) into JPEG."""

    verify: bool = False
    """Decode every image in full before the store is published."""

    max_pixels: int = MAX_PIXELS
    """Refuse images of more pixels than this."""

    skip_bad: bool = False
    """Build without the images that cannot be used, and list them."""

    overwrite: bool = False
    """Replace an existing store."""

    def run(self) -> dict[str, Any]:
        report = build(
            self._source(),
            self.store,
            split=self.split,
            seed=self.seed,
            workers=self.workers,
            shorter_side=self.shorter_side,
            transcode=self.transcode,
            verify=self.verify,
            max_pixels=self.max_pixels,
            skip_bad=self.skip_bad,
            overwrite=self.overwrite,
            progress=track,
        )
        if report["skipped"]:
            show("left out", ["image", "reason"], [[entry["name"], entry["reason"]] for entry in report["skipped"]])
        return report

    def _source(self) -> Source:
        if self.masks is not None and self.format not in ("folder", "masks"):
            raise InputError(
                "--masks goes with --format folder and masks; scenes have masks of their own, HDF5 --masks-dataset"
            )
        if self.format == "masks":
            return self._parsing()
        if self.preset is not None or self.class_names is not None or self.ignore_index is not None:
            raise InputError("--preset, --class-names and --ignore-index go with --format masks; pass that too")
        datasets = (self.classes_dataset, self.names_dataset, self.masks_dataset)
        if self.format != "hdf5" and (
            any(datasets) or (self.images_dataset, self.labels_dataset) != ("images", "labels")
        ):
            raise InputError(f"--images-dataset and its like go with --format hdf5, not {self.format}; leave them out")
        if self.format == "folder":
            from ..pipelines.sources_folder import folder

            return folder(self.source, masks=self.masks)
        if self.format == "hdf5":
            return self._hdf5()
        from ..pipelines.sources_scenes import scenes

        if not self.source.isdecimal():
            raise InputError(f"--format scenes takes a number of pictures, got {self.source!r}")
        return scenes(int(self.source), seed=self.seed, classes=self.classes)

    def _parsing(self) -> Source:
        from ..pipelines.mask_classes import IGNORE, from_file
        from ..pipelines.sources_parsing import parsing, preset

        if self.preset is not None:
            if self.masks is not None:
                raise InputError(f"--preset {self.preset} knows where its masks are; leave out --masks or --preset")
            return preset(
                self.preset,
                self.source,
                subset=self.subset,
                class_names=self.class_names,
                ignored=self.ignore_index,
            )
        if self.masks is None or self.class_names is None:
            raise InputError("--format masks needs --masks FOLDER and --class-names FILE, or --preset NAME")
        ignored = IGNORE if self.ignore_index is None else self.ignore_index
        return parsing(self.source, self.masks, from_file(self.class_names, ignored))

    def _hdf5(self) -> Source:
        from ..pipelines.sources_hdf5 import hdf5

        return hdf5(
            self.source,
            images=self.images_dataset,
            labels=self.labels_dataset,
            classes=self.classes_dataset,
            names=self.names_dataset,
            masks=self.masks_dataset,
            max_pixels=self.max_pixels,
        )


@dataclass(frozen=True, kw_only=True)
class Info:
    """Flags of `sdali info`."""

    store: Positional[Path]
    """An image store."""

    verify: bool = False
    """Read every record, check its CRC32 and decode it in full."""

    def run(self) -> dict[str, Any]:
        store = ImageStore(self.store)
        counts = np.bincount(store.labels[store.labels >= 0], minlength=len(store.classes)).tolist()
        of_pixels = store.ignore_index is not None
        rows = [[name, "" if of_pixels else f"{count:,}"] for name, count in zip(store.classes, counts, strict=True)]
        if len(rows) > _CLASSES_SHOWN:
            rows = [*rows[:_CLASSES_SHOWN], [f"and {len(rows) - _CLASSES_SHOWN} more", ""]]
        show(
            f"{self.store}: {len(store):,} images",
            ["class of pixels" if of_pixels else "class", "" if of_pixels else "images"],
            rows,
        )
        result: dict[str, Any] = {
            "store": str(self.store),
            "images": len(store),
            "classes": list(store.classes) if of_pixels else dict(zip(store.classes, counts, strict=True)),
            "unlabelled": int((store.labels < 0).sum()),
            "bytes": self.store.stat().st_size,
            "height": _range(store.sizes[:, 0]),
            "width": _range(store.sizes[:, 1]),
            "masks": store.has_masks,
            "ignore_index": store.ignore_index,
            "boxes": store.has_boxes,
            "digest": store.digest,
            "statistics": store.statistics is not None,
            "provenance": store.header["provenance"],
        }
        return {**result, **self._verified(store)} if self.verify else result

    def _verified(self, store: ImageStore) -> dict[str, Any]:
        from ..pipelines.verify import verify_store

        bad = verify_store(store, progress=track)
        if bad:
            rows = [[str(entry.index), entry.name, entry.reason] for entry in bad]
            show("bad records", ["index", "image", "reason"], rows)
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

    def run(self) -> dict[str, Any]:
        from ..pipelines.statistics import measure, save

        store = ImageStore(self.store)
        statistics = measure(store, workers=self.workers, progress=track)
        path = save(store, statistics)
        names = ["red", "green", "blue"]
        rows = [[n, f"{m:.4f}", f"{s:.4f}"] for n, m, s in zip(names, statistics.mean, statistics.std, strict=True)]
        show(f"{self.store}, pixels on [0, 1]", ["channel", "mean", "std"], rows)
        return {"file": str(path), **statistics.to_dict()}


def _range(values: np.ndarray) -> dict[str, float]:
    return {"min": int(values.min()), "mean": round(float(values.mean()), 1), "max": int(values.max())}

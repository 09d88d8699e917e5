"""What `sdali build` reads from: the source that its flags describe, once it is clear that they go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..pipelines.errors import InputError
from ..pipelines.sources.source import Source

if TYPE_CHECKING:
    from .store import Build

# Flags, each with its default and the formats it means something to.
_FLAGS = {
    "masks": (None, ("folder", "masks")),
    "annotations": (None, ("folder", "coco")),
    "class_names": (None, ("masks", "voc", "webdataset")),
    "ignore_index": (None, ("masks",)),
    "preset": (None, ("masks",)),
    "subset": (None, ("masks", "voc", "ilsvrc-loc")),
    "boxes_from_masks": ((), ("folder",)),
    "images_dataset": ("images", ("hdf5",)),
    "labels_dataset": ("labels", ("hdf5",)),
    "classes_dataset": (None, ("hdf5",)),
    "names_dataset": (None, ("hdf5",)),
    "masks_dataset": (None, ("hdf5",)),
    "classes": (6, ("scenes",)),
    "objects": (1, ("scenes",)),
}


def source_of(flags: Build) -> Source:
    """The source; raises InputError for flags of another format, and for what each source refuses."""
    for name, (default, formats) in _FLAGS.items():
        if getattr(flags, name) != default and flags.format not in formats:
            flag = "--" + name.replace("_", "-")
            raise InputError(f"{flag} goes with --format {' or '.join(formats)}, not {flags.format}; leave it out")
    make = {
        "folder": _folder,
        "masks": _masks,
        "voc": _voc,
        "coco": _coco,
        "ilsvrc-loc": _ilsvrc_loc,
        "hdf5": _hdf5,
        "webdataset": _webdataset,
        "scenes": _scenes,
    }
    return make[flags.format](flags)


def _folder(flags: Build) -> Source:
    from ..pipelines.sources.folder import folder

    return folder(
        flags.source, masks=flags.masks, annotations=flags.annotations, boxes_from_masks=flags.boxes_from_masks
    )


def _masks(flags: Build) -> Source:
    from ..pipelines.sources.mask_classes import IGNORE, from_file
    from ..pipelines.sources.masks import parsing, preset

    if flags.preset is not None:
        if flags.masks is not None:
            raise InputError(f"--preset {flags.preset} knows where its masks are; leave out --masks or --preset")
        return preset(
            flags.preset,
            flags.source,
            subset=flags.subset or "train",
            class_names=flags.class_names,
            ignored=flags.ignore_index,
        )
    if flags.masks is None or flags.class_names is None:
        raise InputError("--format masks needs --masks FOLDER and --class-names FILE, or --preset NAME")
    if flags.subset is not None:
        raise InputError("--subset goes with --preset or --format voc; leave it out")
    ignored = IGNORE if flags.ignore_index is None else flags.ignore_index
    return parsing(flags.source, flags.masks, from_file(flags.class_names, ignored))


def _voc(flags: Build) -> Source:
    from ..pipelines.sources.voc import voc

    return voc(flags.source, subset=flags.subset, class_names=flags.class_names)


def _coco(flags: Build) -> Source:
    from ..pipelines.sources.coco import coco

    if flags.annotations is None:
        raise InputError("--format coco needs --annotations FILE.json; SOURCE is the folder of its images")
    return coco(flags.source, flags.annotations)


def _ilsvrc_loc(flags: Build) -> Source:
    from ..pipelines.sources.ilsvrc import ilsvrc_loc

    return ilsvrc_loc(flags.source, subset=flags.subset)


def _hdf5(flags: Build) -> Source:
    from ..pipelines.sources.hdf5 import hdf5

    return hdf5(
        flags.source,
        images=flags.images_dataset,
        labels=flags.labels_dataset,
        classes=flags.classes_dataset,
        names=flags.names_dataset,
        masks=flags.masks_dataset,
        max_pixels=flags.max_pixels,
    )


def _webdataset(flags: Build) -> Source:
    from ..pipelines.sources.webdataset import webdataset

    return webdataset(flags.source, class_names=flags.class_names)


def _scenes(flags: Build) -> Source:
    from ..benchmarks.scenes.source import scenes

    if not flags.source.isdecimal():
        raise InputError(f"--format scenes takes a number of pictures, got {flags.source!r}")
    return scenes(int(flags.source), seed=flags.seed, classes=flags.classes, objects=flags.objects)

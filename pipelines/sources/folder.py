"""The format folder: one sub-folder for each class, images anywhere below, perhaps folders of masks or annotations.

Classes and images come in natural order (img2 before img10). Every file with the ending of an image format is taken,
also of formats that DALI does not decode, so that no image is silently missing: the build refuses or transcodes it. All
other files are left out and counted, and so are names that begin with a dot, since file managers leave such files
behind ("._cat.jpg" is no image).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..errors import InputError
from ..io.input_files import read_input
from .mask_png import as_index_png, box_around
from .registry import source_format
from .side_files import annotation_files, mask_files
from .source import LazyItems, LeftOut, Loaded, Source, SourceItem, natural_key
from .voc_xml import labelled_boxes

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k")
EXTENSIONS += (".jpx", ".jpf", ".jpc", ".j2c", ".jxl", ".jxr", ".mpo", ".apng", ".pbm", ".pgm", ".ppm", ".pnm", ".gif")
EXTENSIONS += (".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif", ".ico")


ClassOrder = Literal["natural", "text"]


@dataclass(frozen=True, kw_only=True)
class FolderOptions:
    """A folder whose sub-folders are the classes, with images anywhere below them."""

    masks: Path | None = None
    """The folder of masks, PNG files of class indices. The mask of the image a/b.jpg is a/b.png, else the only b.png
    anywhere in the folder."""

    annotations: Path | None = None
    """A folder of VOC XML files, which belong to images as masks do. Each box has the class of its image, whatever name
    the file gives it."""

    class_order: ClassOrder = "natural"
    """How the classes are numbered: natural puts class2 before class10; text sorts by the characters, class10 first,
    as torchvision's ImageFolder does."""

    boxes_from_masks: tuple[int, ...] = ()
    """Values in the masks, such as 1 3: each image gets one box, of its class, around all pixels of these values."""


@source_format("folder", FolderOptions)
def folder(path: str | Path, options: FolderOptions) -> Source:
    """A folder of class folders, or of images without classes (label -1); see FolderOptions.

    Raises InputError for a folder that is missing or has no images, for an empty class folder, for images both inside
    and outside class folders, for boxes of images without classes, and for boxes from masks without masks or together
    with annotations.
    """
    root, left_out = Path(path), LeftOut()
    if options.class_order not in get_args(ClassOrder):
        raise InputError(f"class_order is one of {', '.join(get_args(ClassOrder))}, got {options.class_order!r}")
    names = image_names(root, options.masks, left_out)
    classes = _classes(root, names, options.masks)
    if options.class_order == "text":
        classes = tuple(sorted(classes))
    label_of = {name: label for label, name in enumerate(classes)}
    _check_boxes(root, classes, options)
    masks = None if options.masks is None else mask_files(options.masks, names, left_out)
    annotations = None if options.annotations is None else annotation_files(options.annotations, names, left_out)

    def item(index: int) -> SourceItem:
        name = names[index]
        label = label_of.get(name.split("/")[0], -1)

        def load() -> Loaded:
            data = read_input(os.path.join(root, name))
            mask = None if masks is None else masks.load(name, as_index_png)
            boxes = size = None
            if annotations is not None:
                boxes, size = annotations.load(name, lambda file: labelled_boxes(file, label))
            elif mask is not None and options.boxes_from_masks:
                boxes = box_around(mask, options.boxes_from_masks, label)
            return Loaded(data, mask, boxes, size)

        return SourceItem(name, label, load, "" if masks is None else masks.expected_path(name))

    return Source(
        classes,
        LazyItems(len(names), item),
        has_masks=masks is not None,
        has_boxes=annotations is not None or bool(options.boxes_from_masks),
        description=f"folder {root}",
        left_out=left_out,
    )


def _check_boxes(root: Path, classes: tuple[str, ...], options: FolderOptions) -> None:
    """Raise InputError for boxes that are asked for and cannot be."""
    values = options.boxes_from_masks
    if values and options.masks is None:
        raise InputError("boxes_from_masks needs masks; give the folder of masks too")
    if values and options.annotations is not None:
        raise InputError("boxes come from annotations or from boxes_from_masks; leave one of them out")
    if outside := [value for value in values if not 0 <= value <= 255]:
        raise InputError(f"boxes_from_masks holds values of masks, which are 0 to 255, got {outside[0]}; correct it")
    if (values or options.annotations is not None) and not classes:
        raise InputError(f"{root} has no class folders, so its boxes would have no class; use the format voc or coco")


def image_names(root: Path, masks: Path | None, left_out: LeftOut) -> list[str]:
    """Relative paths of all images below a folder, in natural order, without those in the folder of masks.

    Every other file is counted in `left_out`. Raises InputError for a folder that is missing or has none.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder; name one that has a sub-folder of images for each class")
    names = sorted(_walk(root, "", frozenset(), masks, left_out), key=natural_key)
    if not names:
        raise InputError(f"{root} has no images: no file below it ends in .jpg, .png, ...; name another folder")
    return names


def _classes(root: Path, names: list[str], masks: Path | None) -> tuple[str, ...]:
    """Names of the class folders, () where all images lie in the folder itself."""
    outside = [name for name in names if "/" not in name]
    inside = {name.split("/")[0] for name in names if "/" in name}
    if outside and inside:
        example = min(inside, key=natural_key)
        raise InputError(
            f"{root} has images in class folders ({example}/) and outside ({outside[0]}); move the latter into a folder"
        )
    if outside:
        return ()
    for entry in _entries(root):
        other = entry.name.startswith(".") or _is_same(entry.path, masks) or _is_same(entry.path, root)
        if _is_folder(entry) and entry.name not in inside and not other:
            raise InputError(f"the class folder {entry.path} has no images; remove it, or fill it")
    return tuple(sorted(inside, key=natural_key))


def _walk(
    folder: Path, prefix: str, ancestors: frozenset[tuple[int, int]], skip: Path | None, left_out: LeftOut
) -> Iterator[str]:
    """Relative paths, with '/', of all files below that have the ending of an image format.

    A folder that is its own ancestor, through a symbolic link, is not entered again.
    """
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in ancestors or _is_same(folder, skip):
        return
    for entry in _entries(folder):
        name = prefix + entry.name
        if _is_folder(entry) and not entry.name.startswith("."):
            yield from _walk(Path(entry.path), f"{name}/", ancestors | {identity}, skip, left_out)
        elif entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith("."):
            yield name
        else:
            left_out.add_file(name)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _is_same(path: Path | str, other: Path | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)

"""The folder source: one sub-folder a class, images anywhere below, perhaps folders of masks or annotations beside.

Classes and images come in natural order (img2 before img10). Names that begin with a dot are left out: they are the
leavings of file managers ("._cat.jpg" is no image). Whatever is called like an image is taken as one, also formats that
DALI does not decode, so that nothing is missing from a store silently: the build refuses or transcodes it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import InputError
from .mask_png import MaskFolder, box_around
from .side_files import shared_stems
from .source import LazyItems, Loaded, Source, SourceItem, natural_key, read_file
from .voc_xml import AnnotationFolder

EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".jp2", ".j2k")
EXTENSIONS += (".jpx", ".pbm", ".pgm", ".ppm", ".pnm", ".gif", ".avif", ".heic", ".heif", ".ico")


def folder(
    path: str | Path,
    *,
    masks: str | Path | None = None,
    annotations: str | Path | None = None,
    boxes_from_masks: Sequence[int] = (),
) -> Source:
    """A folder of class folders, or of images without classes (label -1).

    `masks`: a folder of PNGs of class indices; the image a/b.jpg takes a/b.png, else b.png from anywhere below it.
    `annotations`: a folder of VOC XML files, found alike; each box is of its image's class, whatever name it has there.
    `boxes_from_masks`: values of the masks; a box of the image's class goes around all of its pixels of these values.
    Raises InputError for a folder that is missing or has no images, for an empty class folder, for images both inside
    and outside class folders, for boxes of images without classes, and for boxes from masks that are not given or from
    both masks and annotations.
    """
    root, mask_root = Path(path), None if masks is None else Path(masks)
    names = image_names(root, mask_root)
    classes = _classes(root, names, mask_root)
    labels = {name: label for label, name in enumerate(classes)}
    _check_box_values(boxes_from_masks, masks, annotations)
    if (annotations is not None or boxes_from_masks) and not classes:
        raise InputError(f"{root} has no class folders, whose classes the boxes would have; use --format voc or coco")
    mask_folder = None if mask_root is None else MaskFolder(mask_root, shared_stems(names))
    annotated = None if annotations is None else AnnotationFolder(Path(annotations), shared_stems(names))
    of_image = [labels.get(name.split("/")[0], -1) for name in names]
    items = FolderItems(root, names, of_image, mask_folder, annotated, boxes_from_masks)
    return Source(
        classes,
        items,
        has_masks=mask_folder is not None,
        has_boxes=annotated is not None or bool(boxes_from_masks),
        description=f"folder {root}",
    )


def _check_box_values(values: Sequence[int], masks: object, annotations: object) -> None:
    if not values:
        return
    if masks is None:
        raise InputError("boxes from masks need masks; give the folder of masks too")
    if annotations is not None:
        raise InputError("boxes come from masks or from annotations; give one of them")
    if outside := [value for value in values if not 0 <= value <= 255]:
        raise InputError(f"values of masks are 0 to 255, and boxes are asked for of {outside[0]}; correct it")


def image_names(root: Path, masks: Path | None) -> list[str]:
    """Relative paths of all images below a folder, in natural order, without those in the folder of masks.

    Raises InputError for a folder that is missing or has none.
    """
    if not root.is_dir():
        raise InputError(f"{root} is no folder; name one that has a sub-folder of images for each class")
    names = sorted(_walk(root, "", frozenset(), masks), key=natural_key)
    if not names:
        raise InputError(f"{root} has no images: nothing below it is called like one (.jpg, .png, ...)")
    return names


class FolderItems(LazyItems):
    """Files, of which only the names are kept."""

    def __init__(
        self,
        root: Path,
        names: list[str],
        labels: list[int],
        masks: MaskFolder | None,
        annotations: AnnotationFolder | None = None,
        box_values: Sequence[int] = (),
    ) -> None:
        self._root, self._names, self._labels = root, names, labels
        self._masks, self._annotations, self._box_values = masks, annotations, box_values

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> SourceItem:
        name, label, masks, annotations = self._names[index], self._labels[index], self._masks, self._annotations

        def load() -> Loaded:
            data = read_file(os.path.join(self._root, name))
            boxes, size = (None, None) if annotations is None else annotations.load(name, label)
            mask = None if masks is None else masks.load(name)
            if mask is not None and self._box_values:
                boxes = box_around(mask, self._box_values, label)
            return Loaded(data, mask, boxes, size)

        return SourceItem(name, label, load, "" if masks is None else masks.file_of(name))


def path_inside(root: Path, name: str) -> str:
    """Where the file of that relative name is; raises InputError with a reason unless it is below `root` in fact too.

    For names that a list or a JSON file gives: neither ".." nor a symbolic link may lead elsewhere.
    """
    try:
        path = os.path.realpath(os.path.join(root, name))
    except ValueError:  # a zero byte
        raise InputError("is no name of a file") from None
    if os.path.isabs(name) or ".." in name.split("/") or not path.startswith(os.path.realpath(root) + os.sep):
        raise InputError(f"points outside {root}")
    return path


def _classes(root: Path, names: list[str], masks: Path | None) -> tuple[str, ...]:
    """Names of the class folders, () where all images lie in the folder itself."""
    outside = [name for name in names if "/" not in name]
    inside = {name.split("/")[0] for name in names if "/" in name}
    if outside and inside:
        example = min(inside, key=natural_key)
        raise InputError(
            f"{root} has images in class folders ({example}/) and outside ({outside[0]}); move these into one"
        )
    if outside:
        return ()
    for entry in _entries(root):
        left_out = _is_same(entry.path, masks) or _is_same(entry.path, root)
        if _is_folder(entry) and entry.name not in inside and not left_out:
            raise InputError(f"the class folder {entry.path} has no images; remove it, or fill it")
    return tuple(sorted(inside, key=natural_key))


def _walk(folder: Path, prefix: str, ancestors: frozenset[tuple[int, int]], skip: Path | None) -> Iterator[str]:
    """Relative paths, with '/', of everything below that is called like an image.

    A folder that is its own ancestor, through a symbolic link, is not entered again.
    """
    status = folder.stat()
    identity = status.st_dev, status.st_ino
    if identity in ancestors or _is_same(folder, skip):
        return
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", ancestors | {identity}, skip)
        elif entry.name.lower().endswith(EXTENSIONS):
            yield prefix + entry.name


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link to itself
        return False


def _is_same(path: Path | str, other: Path | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)

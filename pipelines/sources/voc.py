"""The format voc: JPEGImages/, Annotations/ and ImageSets/Main/ as the PASCAL VOC challenge lays them out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..io.input_files import read_lines
from .folder import image_names
from .registry import source_format
from .side_files import annotation_files, read_inside, without_ending
from .source import LazyItems, LeftOut, Loaded, Source, SourceItem, names_in
from .voc_xml import labelled_boxes, object_names

_FLAGGED = re.compile(r"(.*\S)\s+(?:-1|0|1)")


@dataclass(frozen=True, kw_only=True)
class VocOptions:
    """A folder with JPEGImages/, Annotations/ and ImageSets/Main/, as PASCAL VOC is laid out."""

    subset: str | None = None
    """Name of a list in ImageSets/Main/, such as train. None: all images."""

    class_names: Path | None = None
    """A text file of the classes, one a line. None: the names in all annotations, sorted."""


@source_format("voc", VocOptions)
def voc(root: str | Path, options: VocOptions) -> Source:
    """Images with their objects' boxes, classes and difficult flags; labels of images are -1; see VocOptions.

    The order is that of the subset's list. Where no file names the classes, the annotations of all subsets are read, so
    that the stores of all subsets agree. Images without objects are kept. Raises InputError for folders and lists that
    are missing or empty; at its turn each image is refused that is missing, or lies outside the folder, or whose
    annotation is missing, cannot be read, or has an object of another class.
    """
    images, xml = Path(root) / "JPEGImages", Path(root) / "Annotations"
    for folder in (images, xml):
        if not folder.is_dir():
            raise InputError(f"{root} has no folder {folder.name}, as VOC has; correct the path")
    left_out = LeftOut()
    names = image_names(images, None, left_out)
    annotations = annotation_files(xml, names, left_out)
    classes = object_names(annotations) if options.class_names is None else names_in(options.class_names)
    label_of = {name: label for label, name in enumerate(classes)}
    description = f"VOC {root}"
    if options.subset is not None:
        names = _listed(Path(root) / "ImageSets" / "Main" / f"{options.subset}.txt", names)
        description += f", subset {options.subset}"

    def item(index: int) -> SourceItem:
        name = names[index]

        def load() -> Loaded:
            data = read_inside(images, name, "is listed")
            boxes, size = annotations.load(name, lambda file: labelled_boxes(file, label_of))
            return Loaded(data, boxes=boxes, size=size)

        return SourceItem(name, -1, load)

    items = LazyItems(len(names), item)
    return Source(tuple(classes), items, has_boxes=True, description=description, left_out=left_out)


def _listed(path: Path, names: list[str]) -> list[str]:
    """The images of a list, a line each: a name without ending, and 1, 0 or -1 where the list is that of a class.

    Names may have spaces, so such a number is part of the name where only an image of that name is there.
    """
    full_names: dict[str, list[str]] = defaultdict(list)
    for name in names:
        full_names[without_ending(name)].append(name)

    def listed_image(line: str) -> str:
        flagged = _FLAGGED.fullmatch(line)
        stems = [line, flagged[1]] if flagged else [line]
        images = [name for stem in stems for name in full_names.get(stem, ())]
        if len(images) > 1:
            raise InputError(f"{path} lists {line!r}, which is {images[0]} or {images[1]}; rename one of them")
        return images[0] if images else stems[-1]

    listed = [listed_image(line) for line in read_lines(path, "names of images")]
    name, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} lists {name} {times} times; give each image once")
    return listed

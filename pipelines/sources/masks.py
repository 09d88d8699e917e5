"""The format masks, for scene parsing: a folder of images and one of masks, or the layouts of CamVid and ADE20K.

In a store, class k is the k-th name, and its pixels have the value k. Masks that are so already are kept byte for byte,
with their ignore value, which is then K or more (CamVid: 0 to 10, 11 ignored). Others are renumbered without loss, and
255 is ignored (ADE20K: 1 to 150 become 0 to 149, and 0 becomes 255), since a network has one output for each class.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ..errors import InputError
from ..io.input_files import read_input, read_lines
from .folder import image_names
from .mask_png import as_index_png, decode_mask, encode_mask
from .registry import source_format
from .side_files import mask_files
from .source import LazyItems, LeftOut, Loaded, Source, SourceItem, class_lines

IGNORE = 255  # the ignore value of most sets, and of renumbered masks
_NUMBERED = re.compile(r"(\d+)\s*:\s*(.+)")
_CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
_ADE20K_CLASSES = 150
_ADE20K_PARTS = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class MaskClasses:
    """`names` of the K classes, the `values` that they have in the source's masks, and the value `ignored` there."""

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignored: int

    def __post_init__(self) -> None:
        values = [*self.values, self.ignored]
        if not self.names or len(self.names) != len(self.values):
            raise InputError(f"masks need a class for each of their values: {len(self.names)} names are given")
        if not all(0 <= value <= 255 for value in values):
            raise InputError(f"values of masks are 0 to 255, ignored or not; got {min(values)} to {max(values)}")
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise InputError(
                f"the mask value {twice} would have two meanings; name each class and the ignore index once"
            )

    @property
    def is_in_order(self) -> bool:
        """The values in the source are those of the store already: class k has the value k."""
        return self.values == tuple(range(len(self.values)))

    @property
    def ignore_index(self) -> int:
        """The value of pixels without a class in the masks of the store."""
        return self.ignored if self.is_in_order else IGNORE

    def converted(self, data: bytes) -> bytes:
        """A PNG of the source's values as one of the store's; raises InputError with a reason for a foreign value."""
        pixels = decode_mask(data)
        table = np.full(256, -1, np.int16)
        table[list(self.values)], table[self.ignored] = np.arange(len(self.values)), self.ignore_index
        unknown = np.flatnonzero((np.bincount(pixels.ravel(), minlength=256) > 0) & (table < 0))
        if unknown.size:
            low, high, count = min(self.values), max(self.values), len(self.values)
            raise InputError(
                f"has the value {unknown[-1]}, none of the {count} classes ({low} to {high}) "
                f"and not the ignore index {self.ignored}"
            )
        return data if self.is_in_order else encode_mask(table.astype(np.uint8)[pixels])


def in_order(names: Sequence[str], ignored: int) -> MaskClasses:
    """Values 0, 1, 2, ... for the names, leaving out the ignored one."""
    values = [value for value in range(len(names) + 1) if value != ignored]
    return MaskClasses(tuple(names), tuple(values[: len(names)]), ignored)


def from_file(path: str | Path, ignored: int) -> MaskClasses:
    """Classes from a text file: a name a line, for the values in order, or "VALUE: name"; empty lines are left out."""
    lines = class_lines(path)
    numbered = [match for match in map(_NUMBERED.fullmatch, lines) if match]
    if numbered and len(numbered) < len(lines):
        raise InputError(f'{path} has lines with a value ("0: name") and lines without; write all in one way')
    if not numbered:
        return in_order(lines, ignored)
    return MaskClasses(tuple(match[2] for match in numbered), tuple(int(match[1]) for match in numbered), ignored)


@dataclass(frozen=True, kw_only=True)
class MasksOptions:
    """A folder of images, each with a mask whose pixels have classes (scene parsing)."""

    masks: Path | None = None
    """The folder of masks, PNG files of class indices. The mask of the image a/b.jpg is a/b.png, else the only b.png
    anywhere in the folder."""

    class_names: Path | None = None
    """A text file of the classes: either one name a line, for the mask values 0, 1, ... without the ignore index, or
    "VALUE: name" in each line."""

    ignore_index: int | None = None
    """The value of pixels without a class. None: 255, or that of the preset."""

    preset: Literal["camvid", "ade20k"] | None = None
    """SOURCE is the folder of this data set as its authors laid it out. camvid has train/, trainannot/, and the same of
    val and test. ade20k has images/training/, annotations/training/ and the same of validation/; its values 1 to 150
    become the classes 0 to 149, and its 0 is ignored."""

    subset: str | None = None
    """The part of the preset: train or val, of camvid also test. None: train."""


@source_format("masks", MasksOptions)
def images_and_masks(root: str | Path, options: MasksOptions) -> Source:
    """Images anywhere below a folder, each with a PNG mask; see MasksOptions.

    Labels of images are -1, since the classes are those of pixels. Of ADE20K the names come from objectInfo150.txt
    where it is there, else they are the values. Raises InputError for options that do not go together, a folder that is
    missing or has no images; a mask that is missing, has colours, or a value of no class is refused at its turn.
    """
    root = Path(root)
    if options.preset is not None:
        return _preset(root, options)
    if options.subset is not None:
        raise InputError("subset must come with preset, or be left out")
    if options.masks is None or options.class_names is None:
        raise InputError("masks must be given, and class_names with it, unless preset is")
    ignored = IGNORE if options.ignore_index is None else options.ignore_index
    return _source(root, Path(options.masks), from_file(options.class_names, ignored))


def _source(root: Path, mask_root: Path, classes: MaskClasses) -> Source:
    left_out = LeftOut()
    names = image_names(root, mask_root, left_out)
    files = mask_files(mask_root, names, left_out)

    def item(index: int) -> SourceItem:
        name = names[index]

        def load() -> Loaded:
            data = read_input(os.path.join(root, name))
            return Loaded(data, files.load(name, lambda file: classes.converted(as_index_png(file))))

        return SourceItem(name, -1, load, files.expected_path(name))

    return Source(
        classes=classes.names,
        items=LazyItems(len(names), item),
        has_masks=True,
        ignore_index=classes.ignore_index,
        description=f"images {root}, masks {mask_root} of values {_described(classes)}",
        left_out=left_out,
    )


class _Layout(NamedTuple):
    """Of a preset: folders of images and masks by subset, the ignored value, the classes where no file names them."""

    folders: dict[str, tuple[str, str]]
    ignored: int
    classes: Callable[[Path], list[str]]


def _preset(root: Path, options: MasksOptions) -> Source:
    name, subset = options.preset, options.subset or "train"
    layout = _LAYOUTS.get(name or "")
    if layout is None:
        raise InputError(f"presets are {', '.join(_LAYOUTS)}, got {name}")
    if subset not in layout.folders:
        raise InputError(f"the subsets of {name} are {', '.join(layout.folders)}, got {subset}; give one of them")
    if options.masks is not None:
        raise InputError(f"the preset {name} knows where its masks are; leave out masks or preset")
    images, mask_root = (root / folder for folder in layout.folders[subset])
    for folder in (images, mask_root):
        if not folder.is_dir():
            raise InputError(f"{root} has no folder {folder.relative_to(root)}, as {name} has; correct the path")
    ignored = layout.ignored if options.ignore_index is None else options.ignore_index
    if options.class_names is not None:
        return _source(images, mask_root, from_file(options.class_names, ignored))
    return _source(images, mask_root, in_order(layout.classes(root), ignored))


def _ade20k_names(root: Path) -> list[str]:
    """The last column of the release's table, below its line of titles."""
    path = root / "objectInfo150.txt"
    if not path.is_file():
        return [str(value) for value in range(1, _ADE20K_CLASSES + 1)]
    lines = read_lines(path, "classes")[1:]
    if len(lines) != _ADE20K_CLASSES:
        raise InputError(f"{path} has {len(lines)} classes, not {_ADE20K_CLASSES}; copy it again, or give class_names")
    return [line.split("\t")[-1].strip() for line in lines]


_LAYOUTS = {
    "camvid": _Layout({k: (k, f"{k}annot") for k in ("train", "val", "test")}, 11, lambda _: _CAMVID),
    "ade20k": _Layout({k: (f"images/{v}", f"annotations/{v}") for k, v in _ADE20K_PARTS.items()}, 0, _ade20k_names),
}


def _described(classes: MaskClasses) -> str:
    values = classes.values
    whole = values == tuple(range(values[0], values[-1] + 1))
    text = f"{values[0]} to {values[-1]}" if whole else ", ".join(map(str, values))
    return f"{text}, {classes.ignored} ignored"

"""Sources of scene parsing: a folder of images beside one of masks, and the folder habits of CamVid and ADE20K."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..errors import InputError
from .folder import FolderItems, image_names
from .mask_classes import MaskClasses, from_file, in_order
from .mask_png import MaskFolder
from .side_files import shared_stems
from .source import Source

Preset = Literal["camvid", "ade20k"]
SUBSETS = ("train", "val")

_CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
_ADE20K_CLASSES, _ADE20K_NAMES = 150, "objectInfo150.txt"


def parsing(images: str | Path, masks: str | Path, classes: MaskClasses) -> Source:
    """Images anywhere below a folder, each with a PNG mask found as MaskFolder does, of these classes.

    Labels are -1: the classes are those of the pixels. Raises InputError for a folder that is missing or has no images;
    a mask that is missing, has colours, or a value of no class is refused at its turn.
    """
    root, mask_root = Path(images), Path(masks)
    names = image_names(root, mask_root)
    mask_folder = MaskFolder(mask_root, shared_stems(names), classes.converted)
    return Source(
        classes=classes.names,
        items=FolderItems(root, names, [-1] * len(names), mask_folder),
        has_masks=True,
        ignore_index=classes.ignore_index,
        description=f"images {root}, masks {mask_root} of values {_spelt(classes)}",
    )


class _Habit(NamedTuple):
    """Folders of images and masks by subset, the value ignored, and the classes where no file names them."""

    folders: dict[str, tuple[str, str]]
    ignored: int
    classes: Callable[[Path], list[str]]


def preset(
    name: Preset,
    root: str | Path,
    *,
    subset: str = "train",
    class_names: str | Path | None = None,
    ignored: int | None = None,
) -> Source:
    """The source of a data set that is laid out as its authors did.

    camvid: train/, trainannot/, val/, valannot/; 11 classes, 11 ignored. ade20k: images/training/ and
    annotations/training/, or validation/; values 1 to 150 are the classes and 0 is ignored, so class k of the store has
    the value k + 1; names from objectInfo150.txt where it is there, else the values. `class_names` and `ignored`
    replace the set's own.
    """
    if name not in get_args(Preset) or subset not in SUBSETS:
        raise InputError(f"presets are {', '.join(get_args(Preset))} of train or val, got {name} of {subset}")
    habit = _HABITS[name]
    images, masks = (Path(root) / folder for folder in habit.folders[subset])
    for folder in (images, masks):
        if not folder.is_dir():
            raise InputError(f"{root} has no folder {folder.relative_to(root)}, as {name} has; correct the path")
    ignored = habit.ignored if ignored is None else ignored
    classes = in_order(habit.classes(Path(root)), ignored) if class_names is None else from_file(class_names, ignored)
    return parsing(images, masks, classes)


def _ade20k_names(root: Path) -> list[str]:
    """The last column of the release's table, which has a line of titles."""
    path = root / _ADE20K_NAMES
    if not path.is_file():
        return [str(value) for value in range(1, _ADE20K_CLASSES + 1)]
    lines = [line for line in path.read_text("utf-8", "replace").splitlines()[1:] if line.strip()]
    if len(lines) != _ADE20K_CLASSES:
        raise InputError(
            f"{path} has {len(lines)} classes, not {_ADE20K_CLASSES}; copy it again, or give --class-names"
        )
    return [line.split("\t")[-1].strip() for line in lines]


_HABITS: dict[Preset, _Habit] = {
    "camvid": _Habit({"train": ("train", "trainannot"), "val": ("val", "valannot")}, 11, lambda _: _CAMVID),
    "ade20k": _Habit(
        {
            "train": ("images/training", "annotations/training"),
            "val": ("images/validation", "annotations/validation"),
        },
        0,
        _ade20k_names,
    ),
}


def _spelt(classes: MaskClasses) -> str:
    values = classes.values
    whole = values == tuple(range(values[0], values[-1] + 1))
    spelt = f"{values[0]} to {values[-1]}" if whole else ", ".join(map(str, values))
    return f"{spelt}, {classes.ignored} ignored"

"""The format ilsvrc-loc: classification and localization (CLS-LOC) as ILSVRC lays them out, in its kit's class order.

These files are read below the set's folder, as the archives of ILSVRC2015 to 2017 unpack:
    ImageSets/CLS-LOC/SUBSET.txt                       a line an image: its name without ending, its number from 1
    Data/CLS-LOC/train/WNID/NAME.JPEG, val/NAME.JPEG   the images
    Annotations/CLS-LOC/train/WNID/NAME.xml, val/      the boxes, VOC XML whose objects are named by WNID
    devkit/data/map_clsloc.txt                         a line a class: WNID, its number from 1, its name
    devkit/data/*_clsloc_validation_ground_truth.txt   the number of the class of each val image, a line each
    devkit/data/*_clsloc_validation_blacklist.txt      numbers of val images that do not count, a line each

Class k of a store is number k + 1 of the kit. A class is called "WNID name", because two classes are called crane.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ..errors import InputError
from ..io.input_files import read_input, read_lines
from .registry import source_format
from .side_files import parsed_file
from .source import LazyItems, Loaded, Source, SourceItem
from .voc_xml import labelled_boxes

Subset = Literal["train_loc", "train_cls", "val"]


@dataclass(frozen=True, kw_only=True)
class IlsvrcOptions:
    """The folder of ILSVRC's classification and localization: Data/, Annotations/, ImageSets/ and devkit/."""

    subset: str | None = None
    """train_loc: the training images that have boxes. train_cls: all training images, for classifiers; those without an
    XML file count as not annotated. val: the validation images, without those on the blacklist. None: train_loc."""


@source_format("ilsvrc-loc", IlsvrcOptions)
def ilsvrc_loc(root: str | Path, options: IlsvrcOptions) -> Source:
    """Images with labels and boxes, in the order of the subset's list; see IlsvrcOptions.

    Raises InputError for lists that are missing or do not fit together; at its turn an image is refused that is
    missing, or whose annotation is missing, cannot be read, or has an object of no class.
    """
    top, subset = Path(root), options.subset or "train_loc"
    if subset not in get_args(Subset):
        raise InputError(f"the subsets of ILSVRC are {', '.join(get_args(Subset))}, got {subset}; give one of them")
    label_of, names = _classes(top / "devkit" / "data" / "map_clsloc.txt")
    listed = _listed(top / "ImageSets" / "CLS-LOC" / f"{subset}.txt")
    part = subset.partition("_")[0]
    images = _validation(top, listed, len(names)) if part == "val" else _training(top, listed, label_of)
    pictures, annotations = (top / kind / "CLS-LOC" / part for kind in ("Data", "Annotations"))

    def item(index: int) -> SourceItem:
        name, label = images[index]

        def load() -> Loaded:
            data = read_input(pictures / f"{name}.JPEG")
            path = annotations / f"{name}.xml"
            if subset == "train_cls" and not path.exists():
                return Loaded(data)
            boxes, size = parsed_file(path, "annotation", lambda file: labelled_boxes(file, label_of))
            return Loaded(data, boxes=boxes, size=size)

        return SourceItem(f"{name}.JPEG", label, load)

    return Source(
        classes=tuple(f"{wnid} {name}" for wnid, name in zip(label_of, names, strict=True)),
        items=LazyItems(len(images), item),
        has_boxes=True,
        description=f"ILSVRC CLS-LOC {root}, subset {subset}",
    )


def _classes(path: Path) -> tuple[dict[str, int], list[str]]:
    """The label of each WNID, and the names of the classes, in the kit's order."""
    rows = [line.split() for line in read_lines(path, "classes")]
    for number, words in enumerate(rows, 1):
        if len(words) != 3 or words[1] != str(number):
            raise InputError(f"line {number} of {path} should be WNID {number} NAME; copy the kit's file again")
    label_of = {words[0]: label for label, words in enumerate(rows)}
    if len(label_of) < len(rows):
        raise InputError(f"{path} has a WNID twice; copy the kit's file again")
    return label_of, [words[2] for words in rows]


def _listed(path: Path) -> list[tuple[str, int]]:
    """Names and numbers of a list of images."""
    images = []
    for number, line in enumerate(read_lines(path, "names of images"), 1):
        name, text = [*line.rsplit(None, 1), ""][:2]
        if not text.isdecimal() or name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"line {number} of {path} should be NAME NUMBER, got {line!r}; copy the file again")
        images.append((name, int(text)))
    return images


def _training(root: Path, listed: Sequence[tuple[str, int]], label_of: dict[str, int]) -> list[tuple[str, int]]:
    """Names and labels of the training images; the folder of an image is its WNID."""
    images = []
    for name, _ in listed:
        wnid = name.split("/")[0]
        if wnid not in label_of:
            raise InputError(f"the lists of {root} have {name}, and devkit/data/map_clsloc.txt has no {wnid}; add it")
        images.append((name, label_of[wnid]))
    return images


def _validation(root: Path, listed: Sequence[tuple[str, int]], classes: int) -> list[tuple[str, int]]:
    """Names and labels of the validation images, without those on the blacklist."""
    truth, blacklist = (_numbers(root, f"*_clsloc_validation_{what}.txt") for what in ("ground_truth", "blacklist"))
    left_out, images = set(blacklist), []
    for name, number in listed:
        if not 1 <= number <= len(truth):
            raise InputError(f"{name} is number {number} of val, and the ground truth of {root} has {len(truth)} lines")
        if not 1 <= (label := truth[number - 1]) <= classes:
            raise InputError(f"the ground truth of {root} gives {name} the class {label} of 1 to {classes}; correct it")
        if number not in left_out:
            images.append((name, label - 1))
    return images


def _numbers(root: Path, pattern: str) -> list[int]:
    """The numbers, one a line, in the one file of the kit whose name matches the pattern."""
    files = sorted((root / "devkit" / "data").glob(pattern))
    if len(files) != 1:
        raise InputError(f"{root}/devkit/data has {len(files)} files called {pattern}; put the one of the kit there")
    lines = read_lines(files[0], "numbers", may_be_empty=True)
    if wrong := [line for line in lines if not line.isdecimal()]:
        raise InputError(f"{files[0]} has {wrong[0][:40]!r} where a number should stand; copy the kit's file again")
    return [int(line) for line in lines]

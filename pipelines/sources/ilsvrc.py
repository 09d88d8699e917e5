"""The ILSVRC source: classification and localization (CLS-LOC) as the challenge lays them out, in its kit's order.

What is read below the set's folder, as its archives unpack (ILSVRC2015 to 2017):
    ImageSets/CLS-LOC/SUBSET.txt                       a line an image: its name without ending, its number from 1
    Data/CLS-LOC/train/WNID/NAME.JPEG, val/NAME.JPEG   the images
    Annotations/CLS-LOC/train/WNID/NAME.xml, val/      the boxes, VOC XML whose objects are named by WNID
    devkit/data/map_clsloc.txt                         a line a class: WNID, its number from 1, its name
    devkit/data/*_clsloc_validation_ground_truth.txt   the number of the class of each val image, a line each
    devkit/data/*_clsloc_validation_blacklist.txt      numbers of val images that do not count, a line each

Class k of a store is number k + 1 of the kit, so its answers are the kit's. Names alone would not do, for two classes
are called crane: a class is "WNID name".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..errors import InputError
from ..io.input_files import read_input
from .source import LazyItems, Loaded, Source, SourceItem, read_file
from .voc_xml import boxes_in

Subset = Literal["train_cls", "train_loc", "val"]


class _Image(NamedTuple):
    name: str
    """Without its ending."""
    label: int


def ilsvrc_loc(root: str | Path, *, subset: str | None = None) -> Source:
    """Images with labels and boxes, in the order of the subset's list.

    `subset`: train_loc, the training images that have boxes (None is this one); train_cls, all training images, of
    which those without an XML file count as not annotated, for classifiers; val, without those on the blacklist. Raises
    InputError for lists that are missing or do not fit together; at its turn an image is refused that is missing, or
    whose annotation is missing, cannot be read, or has an object of no class.
    """
    top, subset = Path(root), subset or "train_loc"
    if subset not in get_args(Subset):
        raise InputError(f"the subsets of ILSVRC are {', '.join(get_args(Subset))}, got {subset}; pass one as --subset")
    wnids, names = _classes(top / "devkit" / "data" / "map_clsloc.txt")
    listed = _listed(top / "ImageSets" / "CLS-LOC" / f"{subset}.txt")
    part = subset.partition("_")[0]
    images = _validation(top, listed, len(wnids)) if part == "val" else _training(top, listed, wnids)
    return Source(
        classes=tuple(f"{wnid} {name}" for wnid, name in zip(wnids, names, strict=True)),
        items=_Items(top, part, images, wnids, all_annotated=subset != "train_cls"),
        has_boxes=True,
        description=f"ILSVRC CLS-LOC {root}, subset {subset}",
    )


def _classes(path: Path) -> tuple[dict[str, int], list[str]]:
    """The place of each WNID, and the classes' names, in the kit's order."""
    rows = [line.split() for line in _lines(path)]
    for number, words in enumerate(rows, 1):
        if len(words) != 3 or words[1] != str(number):
            raise InputError(f"line {number} of {path} should be WNID {number} NAME; copy the kit's file again")
    wnids = {words[0]: place for place, words in enumerate(rows)}
    if len(wnids) < len(rows):
        raise InputError(f"{path} has a WNID twice; copy the kit's file again")
    return wnids, [words[2] for words in rows]


def _listed(path: Path) -> list[tuple[str, int]]:
    """Names and numbers of a list of images."""
    found = []
    for number, line in enumerate(_lines(path), 1):
        name, _, text = line.partition(" ")
        if not text.strip().isdecimal() or name.startswith("/") or ".." in name.split("/"):
            raise InputError(f"line {number} of {path} should be NAME NUMBER, got {line!r}; copy the file again")
        found.append((name, int(text)))
    return found


def _training(root: Path, listed: Sequence[tuple[str, int]], wnids: dict[str, int]) -> list[_Image]:
    images = []
    for name, _ in listed:
        wnid = name.split("/")[0]
        if wnid not in wnids:
            raise InputError(f"the lists of {root} have {name}, and devkit/data/map_clsloc.txt has no {wnid}; add it")
        images.append(_Image(name, wnids[wnid]))
    return images


def _validation(root: Path, listed: Sequence[tuple[str, int]], classes: int) -> list[_Image]:
    truth, blacklist = (_numbers(root, f"*_clsloc_validation_{what}.txt") for what in ("ground_truth", "blacklist"))
    left_out, images = set(blacklist), []
    for name, number in listed:
        if not 1 <= number <= len(truth):
            raise InputError(f"{name} is number {number} of val, and the ground truth of {root} has {len(truth)} lines")
        if not 1 <= (label := truth[number - 1]) <= classes:
            raise InputError(f"the ground truth of {root} gives {name} the class {label} of 1 to {classes}; correct it")
        if number not in left_out:
            images.append(_Image(name, label - 1))
    return images


def _numbers(root: Path, pattern: str) -> list[int]:
    """The numbers in the one file of the kit that is called so, a line each."""
    found = sorted((root / "devkit" / "data").glob(pattern))
    if len(found) != 1:
        raise InputError(f"{root}/devkit/data has {len(found)} files called {pattern}; put the one of the kit there")
    lines = _lines(found[0], may_be_empty=True)
    if wrong := [line for line in lines if not line.isdecimal()]:
        raise InputError(f"{found[0]} has {wrong[0][:40]!r} where a number should stand; copy the kit's file again")
    return [int(line) for line in lines]


def _lines(path: Path, may_be_empty: bool = False) -> list[str]:
    try:
        lines = [line.strip() for line in read_input(path).decode("utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"cannot read {path}, which ILSVRC has: {error.strerror}; correct the path") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text; copy the kit's file again") from None
    if not (lines or may_be_empty):
        raise InputError(f"{path} is empty; copy the kit's file again")
    return lines


class _Items(LazyItems):
    """Images and their annotations, of which only the names are kept."""

    def __init__(
        self, root: Path, part: str, images: list[_Image], wnids: dict[str, int], *, all_annotated: bool
    ) -> None:
        self._images, self._wnids, self._all_annotated = images, wnids, all_annotated
        self._pictures, self._boxes = (root / kind / "CLS-LOC" / part for kind in ("Data", "Annotations"))

    def __len__(self) -> int:
        return len(self._images)

    def item(self, index: int) -> SourceItem:
        image = self._images[index]

        def load() -> Loaded:
            data = read_file(self._pictures / f"{image.name}.JPEG")
            path = self._boxes / f"{image.name}.xml"
            if not self._all_annotated and not path.exists():
                return Loaded(data)
            boxes, size = boxes_in(path, self._wnids)
            return Loaded(data, boxes=boxes, size=size)

        return SourceItem(f"{image.name}.JPEG", image.label, load)

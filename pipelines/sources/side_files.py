"""Files that belong to images, such as masks and annotations: found by the images' names, read with one kind of error.

Which file belongs to which image is decided by their names alone: the image a/b.jpg takes the file a/b.ENDING, else
the only b.ENDING anywhere below the folder. Two images that would share a file, such as b.jpg and b.png, are refused.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from ..errors import InputError
from ..io.input_files import read_input
from .source import LeftOut

ResultT = TypeVar("ResultT")


class SideFiles:
    """All files of one ending below a folder, by the images that they belong to.

    `what` names such a file in messages ("mask"). `images` are the names of all images: where several have the same
    stem, only the full path tells which file is whose. Files of no image are counted in `left_out`. Raises InputError
    for a folder that is missing.
    """

    def __init__(self, root: str | Path, images: list[str], left_out: LeftOut, *, ending: str, what: str) -> None:
        root = Path(root)
        if not root.is_dir():
            raise InputError(f"{root} is no folder; name one that has a {what} ({ending}) for each image")
        self.root, self._ending, self._what = root, ending, what
        self._images: dict[str, list[str]] = defaultdict(list)
        for name in images:
            self._images[without_ending(name)].append(name)
        counts = Counter(_stem(name) for name in images)
        self._ambiguous = {stem for stem, count in counts.items() if count > 1}
        self._exact: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix.lower() == ending and not any(part.startswith(".") for part in name.split("/")):
                self._exact[without_ending(name)].append(path)
                self._by_stem[path.stem].append(path)
        used = {path for name in images for path in self._candidates(name)}
        for path in self.paths():
            if path not in used:
                left_out.add(f"{what}s of no image", str(path))

    def paths(self) -> list[Path]:
        """All of them, sorted."""
        return [path for paths in self._exact.values() for path in paths]

    def expected_path(self, image: str) -> str:
        """Where the file of an image is, or should be."""
        candidates = self._candidates(image)
        return str(candidates[0] if candidates else self.root / Path(image).with_suffix(self._ending))

    def load(self, image: str, parse: Callable[[bytes], ResultT]) -> ResultT:
        """What `parse` makes of the image's file; raises InputError where there is none, or more than one."""
        candidates = self._candidates(image)
        if not candidates:
            raise InputError(f"has no {self._what} {self.expected_path(image)}")
        others = [other for other in self._images[without_ending(image)] if other != image]
        if others:
            raise InputError(f"shares the {self._what} {candidates[0]} with {others[0]}: rename one of the two images")
        if len(candidates) > 1:
            both = f"{candidates[0]} and {candidates[1]}"
            raise InputError(f"could have either of the {self._what}s {both}: keep one, with the path of the image")
        return parsed_file(candidates[0], self._what, parse)

    def _candidates(self, image: str) -> list[Path]:
        exact, stem = self._exact.get(without_ending(image)), _stem(image)
        return exact if exact else [] if stem in self._ambiguous else self._by_stem.get(stem, [])


def without_ending(name: str) -> str:
    """As Path.with_suffix("") does, for millions of names."""
    stem, dot, _ = name.rpartition(".")
    return stem if dot and "/" not in name[len(stem) :] else name


def _stem(name: str) -> str:
    return without_ending(name).rpartition("/")[2]


mask_files = partial(SideFiles, ending=".png", what="mask")
annotation_files = partial(SideFiles, ending=".xml", what="annotation")


def parsed_file(path: Path, what: str, parse: Callable[[bytes], ResultT]) -> ResultT:
    """What `parse` makes of a file's content; raises InputError with a reason, completing "IMAGE ...", that names it.

    `parse` raises InputError with a reason that completes "FILE ...".
    """
    try:
        return parse(read_input(path))
    except InputError as error:
        raise InputError(f"has the {what} {path}, which {error}") from None
    except OSError as error:
        raise InputError(f"has the {what} {path}, which cannot be read: {error.strerror or error}") from None


def read_inside(root: Path, name: str, why: str) -> bytes:
    """The content of the image `name` below `root`, where `why` says that it is; raises InputError with a reason.

    For names that a list or a JSON file gives: neither ".." nor a symbolic link may lead out of the folder.
    """
    try:
        path = os.path.realpath(os.path.join(root, name))
    except ValueError:  # a zero byte
        raise InputError("cannot be the name of a file") from None
    if os.path.isabs(name) or ".." in name.split("/") or not path.startswith(os.path.realpath(root) + os.sep):
        raise InputError(f"points outside {root}")
    try:
        return read_input(path)
    except FileNotFoundError:
        raise InputError(f"{why}, but {root} has no such image") from None

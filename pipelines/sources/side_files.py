"""Files that belong to images, such as masks and annotations, found by the images' names."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from ..errors import InputError


class FolderBeside:
    """All files of one ending below a folder; an image a/b.jpg takes a/b.ENDING, else the only b.ENDING anywhere below.

    `what`: what such a file is called in messages; `purpose`: completes "name a folder that ...".
    """

    def __init__(self, root: Path, shared_stems: frozenset[str], *, ending: str, what: str, purpose: str) -> None:
        """`shared_stems`: of several images; for these only the full path tells which file is whose."""
        if not root.is_dir():
            raise InputError(f"{root} is no folder; name one that {purpose}")
        self.root, self._shared_stems, self._ending, self._what = root, shared_stems, ending, what
        self._exact: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() == ending and not path.name.startswith("."):
                self._exact[path.relative_to(root).with_suffix("").as_posix()].append(path)
                self._by_stem[path.stem].append(path)

    def files(self) -> list[Path]:
        """All of them, sorted."""
        return [path for paths in self._exact.values() for path in paths]

    def file_of(self, name: str) -> str:
        """Where the file of image `name` is, or should be."""
        found = self._candidates(name)
        return str(found[0] if found else self.root / Path(name).with_suffix(self._ending))

    def found(self, name: str) -> Path:
        """The file of image `name`; raises InputError with a reason where there is none, or more than one."""
        found = self._candidates(name)
        if not found:
            raise InputError(f"has no {self._what} {self.file_of(name)}")
        if len(found) > 1:
            raise InputError(
                f"could have either of the {self._what}s {found[0]} and {found[1]}: leave one, where the image is"
            )
        return found[0]

    def _candidates(self, name: str) -> list[Path]:
        exact = self._exact.get(Path(name).with_suffix("").as_posix())
        stem = Path(name).stem
        return exact if exact else [] if stem in self._shared_stems else self._by_stem.get(stem, [])


def shared_stems(names: list[str]) -> frozenset[str]:
    """Stems of several images, see FolderBeside."""
    counts = Counter(Path(name).stem for name in names)
    return frozenset(stem for stem, count in counts.items() if count > 1)

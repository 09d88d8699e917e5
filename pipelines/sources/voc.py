"""The VOC source: JPEGImages/, Annotations/ and ImageSets/Main/ as the PASCAL VOC challenge lays them out."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from ..errors import InputError
from ..io.input_files import read_input
from .class_names import names_in
from .folder import image_names, path_inside
from .side_files import shared_stems
from .source import LazyItems, Loaded, Source, SourceItem, read_file
from .voc_xml import AnnotationFolder


def voc(root: str | Path, *, subset: str | None = None, class_names: str | Path | None = None) -> Source:
    """Images with their objects' boxes, classes and difficult flags; labels of images are -1.

    `subset`: those that ImageSets/Main/SUBSET.txt lists, in its order; None: all of JPEGImages. `class_names`: a file
    of the classes, one a line; None: the names in all annotations, also those of other subsets, sorted, so that the
    stores of all subsets agree. Images without objects are kept. Raises InputError for folders and lists that are
    missing or empty; at its turn each image is refused that is missing, or lies outside the folder, or whose
    annotation is missing, cannot be read, or has an object of another class.
    """
    images, xml = Path(root) / "JPEGImages", Path(root) / "Annotations"
    for folder in (images, xml):
        if not folder.is_dir():
            raise InputError(f"{root} has no folder {folder.name}, as VOC has; correct the path")
    names = image_names(images, None)
    annotations = AnnotationFolder(xml, shared_stems(names))
    classes = annotations.class_names() if class_names is None else names_in(class_names)
    chosen = names if subset is None else _listed(Path(root) / "ImageSets" / "Main" / f"{subset}.txt", names)
    return Source(
        classes=tuple(classes),
        items=_VocItems(images, chosen, annotations, classes),
        has_boxes=True,
        description=f"VOC {root}" + ("" if subset is None else f", subset {subset}"),
    )


def _listed(path: Path, names: list[str]) -> list[str]:
    """The first column of a list, completed to the names of the images there are; of others it stays as it is."""
    try:
        lines = read_input(path).decode("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise InputError(f"cannot read the list {path}: {error.strerror}; pass another --subset") from None
    stems = [line.split()[0] for line in lines if line.strip()]
    if not stems:
        raise InputError(f"{path} lists no images; pass another --subset")
    full_names: dict[str, list[str]] = defaultdict(list)
    for name in names:
        full_names[Path(name).with_suffix("").as_posix()].append(name)
    if shared := [stem for stem in stems if len(full_names.get(stem, ())) > 1]:
        first, second = full_names[shared[0]][:2]
        raise InputError(f"{path} lists {shared[0]}, which {first} and {second} are called; rename one of them")
    listed = [full_names.get(stem, [stem])[0] for stem in stems]
    name, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise InputError(f"{path} lists {name} {times} times; give each image once")
    return listed


class _VocItems(LazyItems):
    """Images and their annotations, of which only the names are kept."""

    def __init__(self, images: Path, names: list[str], annotations: AnnotationFolder, classes: list[str]) -> None:
        self._images, self._names, self._annotations = images, names, annotations
        self._label_of = {name: label for label, name in enumerate(classes)}

    def __len__(self) -> int:
        return len(self._names)

    def item(self, index: int) -> SourceItem:
        name = self._names[index]

        def load() -> Loaded:
            path = path_inside(self._images, name)
            try:
                data = read_file(path)
            except FileNotFoundError:
                raise InputError(f"is listed, but {self._images} has no such image") from None
            boxes, size = self._annotations.load(name, self._label_of)
            return Loaded(data, boxes=boxes, size=size)

        return SourceItem(name, -1, load)

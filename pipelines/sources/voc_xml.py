"""Annotations of objects as VOC XML files, read without following any reference in them.

VOC counts pixels from 1 and both ends belong to the box; as continuous edges (see boxes) that is x_min - 1, y_min - 1,
x_max, y_max. The image's size, where the file states it, must be that of the image as it is seen, EXIF orientation
applied: boxes drawn on a picture lying on its side are refused rather than guessed at. Which file belongs to which
image is decided by their names, never by the paths in the XML.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError
from ..io.input_files import read_input
from ..store.boxes import Boxes
from .side_files import SideFiles

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_TO_EDGES = np.array([-1.0, -1.0, 0.0, 0.0])


def object_names(files: SideFiles) -> list[str]:
    """The names of all objects in all files, sorted. Files that cannot be read are refused at their image's turn."""
    names: set[str] = set()
    for path in files.paths():
        try:
            names.update(parsed(read_input(path))[0])
        except (InputError, OSError):
            continue
    if not names:
        raise InputError(f"{files.root} has no annotation with an object; name the folder of the VOC XML files")
    return sorted(names)


def labelled_boxes(data: bytes, label_of: Mapping[str, int] | int) -> tuple[Boxes, tuple[int, int] | None]:
    """The boxes of one file, and the size of the image where the file states it.

    `label_of`: the class by the objects' names, or the one class of all objects. Raises InputError with a reason.
    """
    names, boxes, size = parsed(data)
    if isinstance(label_of, int):
        labels = [label_of] * len(names)
    elif unknown := [name for name in names if name not in label_of]:
        raise InputError(f"has an object of class {unknown[0]!r}, none of the {len(label_of)} given; add it to them")
    else:
        labels = [label_of[name] for name in names]
    return boxes._replace(labels=np.array(labels, np.int64)), size


def parsed(data: bytes) -> tuple[list[str], Boxes, tuple[int, int] | None]:
    """Names of the K objects of one file, their boxes (labels all -1), and (height, width) where the file states it.

    Raises InputError with a reason that completes "FILE ...".
    """
    root = _root(data)
    if root.tag != "annotation":
        raise InputError(f"is no VOC annotation: its root is <{root.tag}>")
    objects = root.findall("object")
    names = [_text(one, "name") for one in objects]
    edges = [[_number(one, f"bndbox/{edge}") for edge in _EDGES] for one in objects]
    xyxy = np.array(edges, np.float64).reshape(-1, 4) + _TO_EDGES
    flags = [(one.findtext("difficult") or "0").strip() for one in objects]
    if wrong := [flag for flag in flags if flag not in ("0", "1")]:
        raise InputError(f"has {wrong[0]!r} in <difficult>, which is 0 or 1")
    return names, Boxes(xyxy, np.full(len(names), -1), np.array(flags) == "1"), _size(root)


def _root(data: bytes) -> Any:
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        return fromstring(data.removeprefix(BOM_UTF8).lstrip())  # blank lines, which the parser refuses there
    except DefusedXmlException:
        raise InputError("declares entities, which are not followed; write it without them") from None
    except (ParseError, ValueError, LookupError) as error:  # the latter two: of its encoding
        raise InputError(f"is no XML ({error})") from None


def _text(element: Any, path: str) -> str:
    text = (element.findtext(path) or "").strip()
    if not text:
        raise InputError(f"has no text in <{element.tag}><{path.replace('/', '><')}>")
    return text


def _number(element: Any, path: str) -> float:
    text = _text(element, path)
    try:
        return float(text)
    except ValueError:
        raise InputError(f"has {text!r} for a number in <{path.replace('/', '><')}>") from None


def _size(root: Any) -> tuple[int, int] | None:
    if root.find("size") is None:
        return None
    height, width = _number(root, "size/height"), _number(root, "size/width")
    if not (height.is_integer() and width.is_integer()):
        raise InputError(f"states the size {height} x {width} px, which is not whole")
    return int(height), int(width)

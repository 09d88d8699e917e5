"""VOC annotation files written by the tests."""

from __future__ import annotations

from typing import Any

Object = tuple[str, tuple[Any, Any, Any, Any], Any]


def xml(objects: list[Object], size: tuple[int, int] | None = (40, 60), root: str = "annotation") -> str:
    """A VOC file of objects (name, xmin ymin xmax ymax, difficult) and a size of height and width."""
    body = "" if size is None else f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    for name, box, difficult in objects:
        edges = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
        flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
        body += f"<object><name>{name}</name>{flag}<bndbox>{edges}</bndbox>{part}</object>"
    return f"<{root}><filename>../another.jpg</filename>{body}</{root}>"

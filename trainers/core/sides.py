"""Several sides of a network's input, on the command line a list with commas: 224,256,288."""

from __future__ import annotations

from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec

from ...pipelines.errors import InputError


def parse_sides(texts: list[str]) -> tuple[int, ...]:
    """["224,256"] -> (224, 256); raises InputError for anything but whole numbers."""
    try:
        return tuple(int(part) for part in texts[0].split(",") if part.strip())
    except ValueError:
        raise InputError(f"sides are whole numbers of pixels with commas, such as 224,256, got {texts[0]!r}") from None


Sides = Annotated[
    tuple[int, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PX,PX,...",
        instance_from_str=parse_sides,
        is_instance=lambda value: isinstance(value, tuple) and all(isinstance(side, int) for side in value),
        str_from_instance=lambda sides: [",".join(map(str, sides)) or "None"],
    ),
]

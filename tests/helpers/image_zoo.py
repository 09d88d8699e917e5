"""Small image files over format, subtype, colour, depth, orientation, EXIF oddity, interlace and alpha, made here."""

from __future__ import annotations

from functools import cache

from zoo_jpeg import jpegs
from zoo_others import foreign, jpeg2000s, pnms, webps
from zoo_picture import Specimen
from zoo_png_bmp import bmps, pngs
from zoo_tiff import tiffs


@cache
def zoo() -> dict[str, Specimen]:
    """Name -> file, and what it shows where its maker knows."""
    return {**jpegs(), **pngs(), **bmps(), **tiffs(), **pnms(), **webps(), **jpeg2000s(), **foreign()}

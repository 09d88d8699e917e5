"""The font of a text in pictures: one that has all of its characters, so that no name is a row of empty boxes.

Pillow's own font has ASCII alone. Others are looked for among the fonts of this machine, or are named by the user.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...pipelines.errors import InputError

FOLDERS = (
    "/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts",
    "/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts", "C:/Windows/Fonts",
)  # fmt: skip
_ENDINGS = {".ttf", ".ttc", ".otf"}
_UNLIKE_TEXT = ("bold", "italic", "oblique", "mono", "serif", "condensed", "narrow", "light")  # names of other cuts
_NO_CHARACTER = "\U0010ffff"

logger = logging.getLogger("sdali")
_named: Path | None = None


def use_font(path: Path | None) -> None:
    """Write the texts of all later pictures in this font file; None: in one that has their characters.

    Raises InputError for a file that is no font.
    """
    global _named
    if path is not None and _opened(path, 12) is None:
        raise InputError(f"{path} is no font that can be read; name a .ttf, .otf or .ttc file")
    _named = path


def font(size: int, *texts: str) -> ImageFont.FreeTypeFont:
    """A font of this size in pixels that has every character of the texts.

    Where no font has, it is the one with the most of them, and a warning names the others, once for each.
    """
    characters = frozenset(letter for text in texts for letter in text if not letter.isascii() and not letter.isspace())
    file = _named if _named is not None or not characters else _best_file(characters)
    found = ImageFont.load_default(size) if file is None else _opened(file, size)
    assert isinstance(found, ImageFont.FreeTypeFont)
    if lacking := characters - _covered(file, characters):
        _warn("".join(sorted(lacking)))
    return found


@cache
def _best_file(characters: frozenset[str]) -> Path | None:
    """The file that has the most of the characters; of several, one upright sans-serif font rather than others."""
    best, most = None, 0
    for file in _files():
        count = len(_covered(file, characters))
        if count > most:
            best, most = file, count
        if count == len(characters):
            break
    return best


@cache
def _files() -> list[Path]:
    found = [file for folder in FOLDERS for file in Path(folder).expanduser().rglob("*") if file.suffix in _ENDINGS]
    return sorted(found, key=lambda file: (sum(word in file.stem.lower() for word in _UNLIKE_TEXT), file.stem, file))


@cache
def _covered(file: Path | None, characters: frozenset[str]) -> frozenset[str]:
    """Those of the characters that the font has; Pillow's own, None, has none beyond ASCII."""
    opened = None if file is None else _opened(file, 12)
    if opened is None:
        return frozenset()
    # A font draws one and the same sign for all characters that it lacks.
    box = drawn(opened, _NO_CHARACTER)
    return frozenset(letter for letter in characters if drawn(opened, letter) != box)


def drawn(text: ImageFont.FreeTypeFont, letter: str) -> bytes:
    """The pixels of a character of a small font."""
    picture = Image.new("L", (24, 24))
    ImageDraw.Draw(picture).text((4, 4), letter, 255, text)
    return picture.tobytes()


@cache
def _opened(file: Path, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(file, size)
    except (OSError, ValueError):  # no font, or of a kind that FreeType does not know
        return None


@cache
def _warn(lacking: str) -> None:
    logger.warning(
        "no font here has %s, so pictures show boxes in its place; give --font FILE with one that has", lacking
    )

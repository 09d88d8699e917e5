"""A picture of a confusion matrix: rows true, columns predicted, shades by share of the row, accuracies at the side.

More than 40 classes do not stay legible, so of those the 30 with the most errors are shown, most first, with a last
column for all classes that are left out: every row still adds up to its images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ...cams.drawing.fonts import font
from ...cams.drawing.sheet import GAP, INK, MARGIN, SOFT, TITLE_SIZE
from ...pipelines.errors import InputError
from ...pipelines.io.publish import write_png
from ..core.pictures import printable

ALL_UP_TO, WORST = 40, 30  # classes
RIGHT, WRONG, EMPTY = (11, 114, 133), (201, 60, 44), (238, 238, 240)
NAME_WIDTH, SMALLEST = 230, 10  # px: of class names; of the numbers in the cells
LEGEND, TICKS, BAR_WIDTH = ((RIGHT, "right"), (WRONG, "taken for another")), (0.01, 0.1, 0.25, 0.5, 1), 260


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What is drawn: counts [R, C] of R classes, perhaps with a column of the others; right images [R]; texts."""

    counts: np.ndarray
    right: np.ndarray
    rows: list[str]
    columns: list[str]
    title: str
    captions: list[str]

    @property
    def images(self) -> np.ndarray:
        return self.counts.sum(1)

    @property
    def cell(self) -> int:
        """Side, px."""
        return 84 if len(self.rows) <= 6 else 56 if len(self.rows) <= 15 else 36


def save_confusion_picture(
    path: str | Path, counts: np.ndarray, classes: Sequence[str], *, overwrite: bool = False
) -> None:
    """Write a PNG of counts int [K, K] (true class -> predicted class), replacing what was there.

    Raises InputError where counts and classes do not fit, or the file cannot be written.
    """
    if counts.shape != (len(classes), len(classes)) or not len(classes):
        raise InputError(f"confusion counts of {len(classes)} classes cannot be {list(counts.shape)}; give [K, K]")
    write_png(path, _drawn(_shown(counts, classes)), overwrite=overwrite)


def _shown(counts: np.ndarray, classes: Sequence[str]) -> Shown:
    names = [printable(name) for name in classes]
    images, right = int(counts.sum()), int(counts.trace())
    share = f"{_percent(right, images)} right: " if images else ""
    captions = ["Rows: true class, columns: predicted class", "Numbers: images, shades: share of the row"]
    chosen, columns, others = np.arange(len(names)), names, np.zeros((len(names), 0), counts.dtype)
    if len(names) > ALL_UP_TO:
        chosen = np.argsort(counts.diagonal() - counts.sum(1), kind="stable")[:WORST]
        columns = [*(names[k] for k in chosen), f"{len(names) - WORST} others"]
        others = (counts[chosen].sum(1) - counts[np.ix_(chosen, chosen)].sum(1))[:, None]
        captions.append(f"The {WORST} of {len(names)} classes with the most errors, most first")
    return Shown(
        counts=np.hstack([counts[np.ix_(chosen, chosen)], others]),
        right=counts.diagonal()[chosen],
        rows=[names[k] for k in chosen],
        columns=columns,
        title=f"{share}{right:,} of {images:,} images",
        captions=captions,
    )


def _drawn(shown: Shown) -> Image.Image:
    text = font(min(18, shown.cell // 2), "…", *shown.rows, *shown.columns)
    rows, columns = ([shortened(name, text) for name in names] for names in (shown.rows, shown.columns))
    sides = [_side_text(shown, row) for row in range(len(rows))]
    side_width = _widest([share for share, _ in sides], text) + GAP + _widest([count for _, count in sides], text)
    line = sum(text.getmetrics())
    header = MARGIN + TITLE_SIZE + 2 * GAP + len(shown.captions) * (line + 2) + GAP
    left, top = MARGIN + _widest(rows, text) + GAP, header + max(_widest(columns, text), line) + GAP
    right, bottom = left + shown.cell * len(columns), top + shown.cell * len(rows)
    legend_left = MARGIN + _widest([what for _, what in LEGEND], text) + GAP
    widest_text = max(_widest([shown.title], font(TITLE_SIZE)), _widest(shown.captions, text))
    width = max(right + 2 * GAP + side_width, MARGIN + widest_text, legend_left + BAR_WIDTH) + MARGIN
    picture = Image.new("RGB", (width, bottom + 3 * GAP + 3 * line + MARGIN), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((MARGIN, MARGIN), shown.title, INK, font(TITLE_SIZE))
    for number, caption in enumerate(shown.captions):
        draw.text((MARGIN, MARGIN + TITLE_SIZE + 2 * GAP + number * (line + 2)), caption, SOFT, text)
    for column, name in enumerate(columns):
        _write_upwards(picture, (left + column * shown.cell + shown.cell // 2, top - GAP), name, text)
    for row, (name, (share, count)) in enumerate(zip(rows, sides, strict=True)):
        middle = top + row * shown.cell + shown.cell // 2
        draw.text((left - GAP, middle), name, INK, text, anchor="rm")
        draw.text((right + 2 * GAP + side_width, middle), count, SOFT, text, anchor="rm")
        draw.text((right + 2 * GAP, middle), share, INK, text, anchor="lm")
        _draw_row(draw, (left, top + row * shown.cell), shown, row)
    _draw_legend(draw, (legend_left, bottom + 3 * GAP), text)
    return picture


def _draw_row(draw: ImageDraw.ImageDraw, corner: tuple[int, int], shown: Shown, row: int) -> None:
    """The cells of one true class; grey throughout where it has no image."""
    images = int(shown.images[row])
    for column, count in enumerate(shown.counts[row].tolist()):
        x, y = corner[0] + column * shown.cell, corner[1]
        strength = (count / images) ** 0.5 if images else 0.0
        shade = tint(RIGHT if column == row else WRONG, strength) if images else EMPTY
        draw.rectangle((x, y, x + shown.cell - 2, y + shown.cell - 2), shade, EMPTY)
        if count:
            number = f"{count:,}"
            if (size := _fitting_size(number, shown.cell)) is not None:
                ink = "white" if strength > 0.6 else INK
                draw.text((x + shown.cell // 2 - 1, y + shown.cell // 2 - 1), number, ink, font(size), anchor="mm")


def _draw_legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: ImageFont.FreeTypeFont) -> None:
    """Two bars of shades, what they are at their left, some shares of the row under them."""
    (x, y), line = corner, sum(text.getmetrics())
    for colour, what in LEGEND:
        draw.text((x - GAP, y + line // 2), what, SOFT, text, anchor="rm")
        for step in range(BAR_WIDTH):
            draw.line((x + step, y + 2, x + step, y + line - 3), tint(colour, (step + 1) / BAR_WIDTH))
        y += line
    for share in TICKS:
        draw.text((x + round(BAR_WIDTH * share**0.5), y), f"{share:.0%}", SOFT, text, anchor="ra")


def tint(colour: tuple[int, ...], strength: float) -> tuple[int, ...]:
    """The colour mixed with white: white at 0, itself at 1."""
    return tuple(round(255 + (part - 255) * strength) for part in colour)


def shortened(name: str, text: ImageFont.FreeTypeFont) -> str:
    """The name, with an ellipsis for its middle where it is wider than NAME_WIDTH: names often differ at their end."""
    kept = len(name)
    short = name
    while text.getlength(short) > NAME_WIDTH:
        kept -= 1
        short = f"{name[: (kept + 1) // 2]}…{name[len(name) - kept // 2 :]}"
    return short


def _side_text(shown: Shown, row: int) -> tuple[str, str]:
    images, right = int(shown.images[row]), int(shown.right[row])
    return (_percent(right, images), f"{right:,} / {images:,}") if images else ("", "no images")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def _fitting_size(number: str, cell: int) -> int | None:
    """The size of font, at most 2/5 of the cell, at which the number fits; None where it would be illegible."""
    sizes = range(2 * cell // 5, SMALLEST - 1, -1)
    return next((size for size in sizes if font(size).getlength(number) <= cell - 8), None)


def _widest(texts: Sequence[str], text: ImageFont.FreeTypeFont) -> int:
    return max(round(text.getlength(one)) for one in texts)


def _write_upwards(picture: Image.Image, foot: tuple[int, int], name: str, text: ImageFont.FreeTypeFont) -> None:
    """Write from `foot`, the lower end of the text's middle line, towards the top."""
    size = math.ceil(text.getlength(name)) + 2, sum(text.getmetrics())
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).text((0, size[1] // 2), name, 255, text, anchor="lm")
    mask = mask.rotate(90, expand=True)
    picture.paste(INK, (foot[0] - mask.width // 2, foot[1] - mask.height), mask)

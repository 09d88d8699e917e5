"""A contact sheet: a titled grid of pictures with a caption over each row, on white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import cv2
import numpy as np
from PIL import Image, ImageDraw

from .fonts import font

MARGIN = 32  # pixels around the sheet
GAP, GROUP_GAP, ROW_GAP = 8, 28, 30  # pixels between columns, groups of columns, rows
TITLE_SIZE, CAPTION_SIZE = 24, 18
INK, SOFT = (28, 28, 30), (112, 112, 118)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A caption, `name` in black and `details` in grey, and under it a picture RGB uint8 [H, W, 3] in each column."""

    name: str
    details: str
    cells: Sequence[np.ndarray]


def contact_sheet(groups: Sequence[tuple[str, int]], rows: Sequence[Row], height: int) -> Image.Image:
    """The sheet; pictures are aligned at the top left, and a column is as wide as its widest picture.

    groups: (title, number of columns) from left to right; height: that of a row without its caption, in pixels.
    """
    lefts, edge = _column_lefts(groups, rows)
    caption = _line_height(CAPTION_SIZE, *(text for row in rows for text in (row.name, row.details)))
    first = MARGIN + _line_height(TITLE_SIZE) + GAP
    pitch = caption + height + ROW_GAP
    sheet = Image.new("RGB", (edge + MARGIN, first + pitch * len(rows) - ROW_GAP + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for (title, _), left in zip(groups, lefts, strict=True):
        draw.text((left[0], MARGIN), title, INK, font(TITLE_SIZE, title))
    for number, row in enumerate(rows):
        top = first + number * pitch
        text = font(CAPTION_SIZE, row.name, row.details)
        draw.text((MARGIN, top), row.name, INK, text)
        draw.text((MARGIN + draw.textlength(row.name + "   ", text), top), row.details, SOFT, text)
        for left, picture in zip(chain(*lefts), row.cells, strict=True):
            sheet.paste(Image.fromarray(picture), (left, top + caption))
    return sheet


def stacked(images: Sequence[Image.Image]) -> Image.Image:
    """Pictures below each other, flush left on white."""
    sheet = Image.new("RGB", (max(image.width for image in images), sum(image.height for image in images)), "white")
    for image, top in zip(images, accumulate((image.height for image in images), initial=0), strict=False):
        sheet.paste(image, (0, top))
    return sheet


def fitted(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture shrunk or enlarged, its shape kept, to the largest that fits into height x width pixels."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def framed(picture: np.ndarray, colour: tuple[int, int, int], width: int = 3) -> np.ndarray:
    """A copy whose outermost pixels are a border of that colour."""
    frame = np.full_like(picture, colour)
    frame[width:-width, width:-width] = picture[width:-width, width:-width]
    return frame


def _column_lefts(groups: Sequence[tuple[str, int]], rows: Sequence[Row]) -> tuple[list[list[int]], int]:
    """Left edges of the columns of each group, and the right edge of the last group, in pixels."""
    widths = iter([max(row.cells[column].shape[1] for row in rows) for column in range(len(rows[0].cells))])
    groups_lefts, begin, end = [], MARGIN, MARGIN
    for title, columns in groups:
        edges = list(accumulate((next(widths) + GAP for _ in range(columns)), initial=begin))
        groups_lefts.append(edges[:-1])
        end = max(edges[-1] - GAP, begin + math.ceil(font(TITLE_SIZE).getlength(title)))
        begin = end + GROUP_GAP
    return groups_lefts, end


def _line_height(size: int, *texts: str) -> int:
    return sum(font(size, *texts).getmetrics()) + GAP

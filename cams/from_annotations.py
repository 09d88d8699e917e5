"""Heatmaps from what people drew: the share of each cell that lies on the object.

Masks and boxes give the ceiling of what activation maps can reach, and an exact map in a test. A share is area over
area, with pixels that straddle two cells divided between them, so it holds where the grid does not divide the image,
and where the image is smaller than the grid (OpenCV's INTER_AREA interpolates there).
"""

from __future__ import annotations

import numpy as np

from ..pipelines.store.heatmaps import quantise

GRID = 32  # cells a side: our choice, finer than a network's 7 to 12, still 1 KB a map
NOT_FOREGROUND = (0, 255)  # background and "ignore" of most mask sets (VOC, ADE20K)


def mask_heatmap(mask: np.ndarray, foreground: tuple[int, ...] | None = None, grid: int = GRID) -> np.ndarray:
    """The share of foreground pixels in each cell, scaled so that the largest is 255.

    Args:
        mask: uint8 [H, W], class of each pixel.
        foreground: the classes that are the object; None: all but 0 and 255.

    Returns:
        uint8 [grid, grid]; all zero where the mask has no foreground.
    """
    is_foreground = np.zeros(256)
    values = set(range(256)) - set(NOT_FOREGROUND) if foreground is None else foreground
    is_foreground[list(values)] = 1
    return quantise(pixel_means(is_foreground[mask], grid))


def boxes_heatmap(boxes: np.ndarray, height: int, width: int, grid: int = GRID) -> np.ndarray:
    """The share of each cell inside any of the boxes, scaled so that the largest is 255.

    Args:
        boxes: float [K, 4] xyxy pixels; parts outside the image count for nothing, overlaps count once.
        height, width: size of the oriented image in pixels.

    Returns:
        uint8 [grid, grid]; all zero without boxes.
    """
    left, top, right, bottom = np.clip(boxes.astype(np.float64), 0, [width, height, width, height]).T
    xs, ys = np.unique(np.r_[0, left, right, width]), np.unique(np.r_[0, top, bottom, height])
    covered = np.zeros((len(ys) - 1, len(xs) - 1))
    corners = *np.searchsorted(xs, [left, right]), *np.searchsorted(ys, [top, bottom])
    for x0, x1, y0, y1 in zip(*corners, strict=True):
        covered[y0:y1, x0:x1] = 1
    return quantise(cell_shares(covered, ys, xs, grid))


def pixel_means(values: np.ndarray, grid: int) -> np.ndarray:
    """float64 [grid, grid]: the mean of a picture's values, float64 [H, W], over each of grid x grid equal cells."""
    height, width = values.shape
    return cell_shares(values, np.arange(height + 1.0), np.arange(width + 1.0), grid)


def cell_shares(values: np.ndarray, ys: np.ndarray, xs: np.ndarray, grid: int) -> np.ndarray:
    """Mean over each of grid x grid equal cells of a picture whose pixels may have any sizes.

    Args:
        values: float64 [m, n], constant inside each pixel.
        ys, xs: float64 [m + 1] and [n + 1], ascending edges of the pixels; cells divide `ys[0]..ys[-1]` and
            `xs[0]..xs[-1]`.

    Returns:
        float64 [grid, grid].
    """
    return _cell_means(_cell_means(values, ys, grid).T, xs, grid).T


def _cell_means(values: np.ndarray, edges: np.ndarray, grid: int) -> np.ndarray:
    """float64 [grid, n] from [m, n]: sums up to the cells' edges are linear inside a pixel, so interpolation is exact.

    Cumulated sums, and not a product with a matrix of overlaps: BLAS sets several threads on each small product, beside
    the decoding of the masks, which on two busy cores took seven times as long as one thread.
    """
    widths, cells = np.diff(edges), np.linspace(edges[0], edges[-1], grid + 1)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values * widths[:, None], axis=0, out=sums[1:])
    pixel = np.clip(np.searchsorted(edges, cells, "right") - 1, 0, len(values) - 1)
    inside = ((cells - edges[pixel]) / widths[pixel])[:, None]
    sums_at_cells = sums[pixel] + inside * (sums[pixel + 1] - sums[pixel])
    return np.diff(sums_at_cells, axis=0) / np.diff(cells)[:, None]

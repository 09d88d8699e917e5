"""Heatmaps from annotations: the share of each cell that lies on the object, or the rarity of the classes in it.

Masks and boxes show what activation maps can reach at best, and give an exact map in a test. A share is area over area,
with pixels that straddle two cells divided between them. So it is right where the grid does not divide the image, and
where the image is smaller than the grid (OpenCV's INTER_AREA interpolates there).

Rare classes guide the crops of scene parsing. The weight of a pixel is 1 / frequency of its class over the whole store,
that of an ignored pixel 0, and a cell has the mean weight of its pixels. So each class of an image draws windows in
proportion to its pixels times its weight, to within a cell of 1/32 of the image's sides: far finer than a crop.

A map's 8 bits are relative to its largest cell, and classes may be a thousand times rarer than others. If each cell
were rounded alone, dim cells would all err in the same direction, or vanish. So the remainder of rounding a cell is
carried to the next cell in reading order: any run of cells has its true sum to within 1, where the largest cell has
255. What is lost is where exactly in a dim region its few counts lie. Over CamVid's maps 0.02 % of the draws fall to
another class than they should (at most 0.07 % in one map), instead of 0.5 % (2 %).
"""

from __future__ import annotations

import numpy as np

from ..pipelines.store.heatmaps import quantise
from ..pipelines.store.measure import ClassFrequencies

GRID = 32  # cells on each side: our choice, finer than a network's 7 to 12, and still 1 KB for a map
NOT_FOREGROUND = (0, 255)  # background and "ignore" in most sets of masks (VOC, ADE20K)


def mask_heatmap(mask: np.ndarray, foreground: tuple[int, ...] | None = None, grid: int = GRID) -> np.ndarray:
    """uint8 [grid, grid]: the share of foreground pixels in each cell, scaled so that the largest, if any, is 255.

    mask: uint8 [H, W], the class of each pixel; foreground: the classes that are the object, None: all but 0 and 255.
    """
    is_foreground = np.zeros(256)
    values = set(range(256)) - set(NOT_FOREGROUND) if foreground is None else foreground
    is_foreground[list(values)] = 1
    return quantise(pixel_means(is_foreground[mask], grid))


def boxes_heatmap(boxes: np.ndarray, height: int, width: int, grid: int = GRID) -> np.ndarray:
    """uint8 [grid, grid]: the share of each cell inside any of the boxes, scaled so that the largest, if any, is 255.

    boxes: float [K, 4] xyxy pixels of an image of this size; parts outside it do not count, overlaps count once.
    """
    left, top, right, bottom = np.clip(boxes.astype(np.float64), 0, [width, height, width, height]).T
    xs, ys = np.unique(np.r_[0, left, right, width]), np.unique(np.r_[0, top, bottom, height])
    covered = np.zeros((len(ys) - 1, len(xs) - 1))
    corners = *np.searchsorted(xs, [left, right]), *np.searchsorted(ys, [top, bottom])
    for x0, x1, y0, y1 in zip(*corners, strict=True):
        covered[y0:y1, x0:x1] = 1
    return quantise(cell_shares(covered, ys, xs, grid))


def value_weights(frequencies: ClassFrequencies) -> np.ndarray:
    """The weight of each mask value, float64 [256]: 1 / share of its class in all labelled pixels, 0 if it has none."""
    weights = np.zeros(256)
    (occurs,) = np.nonzero(frequencies.pixels)
    weights[occurs] = frequencies.pixels.sum() / frequencies.pixels[occurs]
    return weights


def rare_class_heatmap(mask: np.ndarray, weight_of: np.ndarray, grid: int = GRID) -> np.ndarray:
    """uint8 [grid, grid]: the mean weight of the pixels in each cell, rounded as the module's docstring explains.

    mask: uint8 [H, W]; weight_of: float64 [256], the weight of each mask value.
    """
    means = pixel_means(weight_of[mask], grid)
    if not means.any():
        return np.zeros((grid, grid), np.uint8)
    sums = np.floor(np.cumsum(means * (255 / means.max())) + 0.5)
    return np.diff(sums, prepend=0).clip(0, 255).astype(np.uint8).reshape(means.shape)


def pixel_means(values: np.ndarray, grid: int) -> np.ndarray:
    """The mean of a picture's values, float64 [H, W], over each of grid x grid equal cells, float64 [grid, grid]."""
    height, width = values.shape
    return cell_shares(values, np.arange(height + 1.0), np.arange(width + 1.0), grid)


def cell_shares(values: np.ndarray, ys: np.ndarray, xs: np.ndarray, grid: int) -> np.ndarray:
    """float64 [grid, grid]: mean over each of grid x grid equal cells of a picture whose pixels may have any sizes.

    values: float64 [m, n], constant inside each pixel; ys, xs: float64 [m + 1] and [n + 1], ascending, the edges of the
    pixels, between the first and last of which the cells lie.
    """
    return _cell_means(_cell_means(values, ys, grid).T, xs, grid).T


def _cell_means(values: np.ndarray, edges: np.ndarray, grid: int) -> np.ndarray:
    """Means over cells along the first axis, [m, n] -> float64 [grid, n], from cumulated sums.

    Between the edges of a pixel a cumulated sum is linear, so interpolating it at the edges of the cells is exact. (A
    product with a matrix of overlaps was tried: BLAS runs each small product on several threads beside those that
    decode masks, which took seven times as long on two busy cores.)
    """
    widths, cells = np.diff(edges), np.linspace(edges[0], edges[-1], grid + 1)
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values * widths[:, None], axis=0, out=sums[1:])
    pixel = np.clip(np.searchsorted(edges, cells, "right") - 1, 0, len(values) - 1)
    inside = ((cells - edges[pixel]) / widths[pixel])[:, None]
    sums_at_cells = sums[pixel] + inside * (sums[pixel + 1] - sums[pixel])
    return np.diff(sums_at_cells, axis=0) / np.diff(cells)[:, None]

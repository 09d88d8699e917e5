"""Boxes: what their numbers mean, and how they move when a plan row moves the pixels.

A box is x_min, y_min, x_max, y_max in pixels of the oriented image, as continuous edges: the whole image is (0, 0,
width, height), and pixel (x, y) is the box (x, y, x + 1, y + 1). Formats that count otherwise are turned into this
where they are read. Arithmetic is float64, what is kept and handed out is float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..errors import InputError

DEGENERATE = 1.0  # px; a box no wider or no higher than this is no object: our choice, for a click without a drag


class Boxes(NamedTuple):
    """The K objects of one image: `xyxy` float [K, 4], `labels` int64 [K] (class), `difficult` bool [K].

    A difficult object (VOC), or a crowd (COCO), does not count: a detector that reports it makes no error, and one that
    leaves it out misses nothing. `areas` float64 [K]: of the objects themselves, px², where the source knows their
    outlines (COCO); None: those of the boxes.
    """

    xyxy: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    areas: np.ndarray | None = None

    def at(self, chosen: np.ndarray) -> Boxes:
        """The boxes that a mask bool [K], or indices int [n], choose."""
        areas = None if self.areas is None else self.areas[chosen]
        return Boxes(self.xyxy[chosen], self.labels[chosen], self.difficult[chosen], areas)

    def object_areas(self) -> np.ndarray:
        """float64 [K], px²: `areas`, or those of the boxes."""
        return box_areas(self.xyxy) if self.areas is None else self.areas


class Objects(NamedTuple):
    """The M objects of all images of a store: `images` int64 [M], their indices, ascending; `labels` int64 [M];
    `difficult` bool [M].
    """

    images: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray


def box_areas(xyxy: np.ndarray) -> np.ndarray:
    """float64 [K], px², of boxes [K, 4]."""
    corners = xyxy.astype(np.float64)
    return (corners[:, 2:] - corners[:, :2]).prod(1)


def none_found() -> Boxes:
    """The boxes of an image without objects."""
    return Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))


def inside(boxes: Boxes, height: int, width: int) -> tuple[Boxes, int, int]:
    """The boxes as a store keeps them, float32: clipped to the image, and dropped where DEGENERATE or less is left.

    Returns the boxes, how many of them were clipped, and how many were dropped. Raises InputError with a reason for an
    edge that is infinite or not a number.
    """
    xyxy = np.asarray(boxes.xyxy, np.float64).reshape(-1, 4)
    if not np.isfinite(xyxy).all():
        wrong = xyxy[~np.isfinite(xyxy).all(1)][0].tolist()
        raise InputError(f"has the box {wrong}, whose edges are not all numbers")
    clipped = np.clip(xyxy, 0, [width, height, width, height])
    kept = (clipped[:, 2:] - clipped[:, :2]).min(1, initial=np.inf) > DEGENERATE
    changed = int((clipped != xyxy).any(1)[kept].sum())
    return boxes._replace(xyxy=clipped.astype(np.float32)).at(kept), changed, int((~kept).sum())


def moved(boxes: Boxes, row: np.void) -> Boxes:
    """The boxes in pixels of what one plan row makes, float32.

    row: `window` (y, x, height, width) of the oriented original fills `placed` (y, x, height, width) of the output, and
    `flip` mirrors it there. A box whose centre lies outside the window is left out (SSD's rule, Liu et al., ECCV 2016),
    what is left of the others is clipped to the window; areas change as those of their boxes do.
    """
    top, left, height, width = row["window"].astype(np.float64)
    to_top, to_left, to_height, to_width = row["placed"].astype(np.float64)
    kept = boxes.at(centred_in(boxes.xyxy, row["window"]))
    corners = np.clip(kept.xyxy - [left, top, left, top], 0, [width, height, width, height])
    corners *= [to_width / width, to_height / height] * 2
    if row["flip"]:
        corners[:, [0, 2]] = to_width - corners[:, [2, 0]]
    corners += np.array([to_left, to_top, to_left, to_top])
    with np.errstate(invalid="ignore", divide="ignore"):  # a box without area, which no build keeps
        areas = None if kept.areas is None else kept.areas * (box_areas(corners) / box_areas(kept.xyxy))
    return kept._replace(xyxy=corners.astype(np.float32), areas=areas)


def centred_in(xyxy: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """bool [..., K]: whether the centres of boxes [K, 4] lie in windows [..., 4] (y, x, height, width)."""
    corners, edges = xyxy.astype(np.float64), windows[..., None, :].astype(np.float64)
    x, y = (corners[:, 0] + corners[:, 2]) / 2, (corners[:, 1] + corners[:, 3]) / 2
    down, across = y - edges[..., 0], x - edges[..., 1]
    return (down >= 0) & (down < edges[..., 2]) & (across >= 0) & (across < edges[..., 3])


def iou(xyxy: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """float64 [T, K]: intersection over union of windows [T, 4] (y, x, height, width) and boxes [K, 4]."""
    corners = xyxy.astype(np.float64)
    low = windows[:, None, 1::-1].astype(np.float64)  # x, y
    high = low + windows[:, None, 3:1:-1]
    common = np.minimum(high, corners[:, 2:]) - np.maximum(low, corners[:, :2])
    overlap = np.maximum(common, 0).prod(-1)
    union = (high - low).prod(-1) + box_areas(xyxy) - overlap
    return overlap / union

"""The box of a class activation map, the baseline of localization: where the map is high, in one piece.

As Zhou et al. (CVPR 2016) draw it: the map is enlarged to the image, thresholded at 20 % of its maximum, and the box
goes around the largest connected piece.
"""

from __future__ import annotations

import cv2
import numpy as np


def cam_box(heatmap: np.ndarray, height: int, width: int, share: float = 0.2) -> np.ndarray:
    """float32 [4]: a box xyxy in whole pixels of the oriented original image of height x width.

    A pixel belongs to a piece where the map, interpolated linearly between the centres of its cells, is above `share`
    of the enlarged map's maximum; pixels also connect over corners. Of pieces of equal area the first by top, then
    left, is chosen. The box is the whole image where the map is nowhere positive. NaN counts as 0.

    heatmap: float or uint8 [h, w] over the whole image.
    """
    enlarged = cv2.resize(
        np.nan_to_num(heatmap.astype(np.float32), posinf=0, neginf=0), (width, height), interpolation=cv2.INTER_LINEAR
    )
    if (highest := enlarged.max()) <= 0:
        return np.array([0, 0, width, height], np.float32)
    pieces = cv2.connectedComponentsWithStats((enlarged > share * highest).view(np.uint8), connectivity=8)[2][1:]
    areas, tops, lefts = (pieces[:, column] for column in (cv2.CC_STAT_AREA, cv2.CC_STAT_TOP, cv2.CC_STAT_LEFT))
    left, top, wide, high = pieces[np.lexsort([lefts, tops, -areas])[0], :4]
    return np.array([left, top, left + wide, top + high], np.float32)

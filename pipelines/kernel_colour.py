"""The CPU colour kernel: uint8 HWC image and 3 x 5 matrix -> normalised float32 CHW, flipped if asked, in two passes.

Numba, compiled for one signature and cached on disk. The first pass separates the channels into the output planes and
sums them for the mean grey (row sums in float32 are exact up to 65,000 px a row), the second transforms the planes in
place; only contiguous planes are vectorised. A flip is a last in-place reversal: mirrored reads are not vectorised.

All of it stands in one file because numba's cache looks at the file of the function alone, not at what it calls.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types


@numba.njit("void(float32[:,:,::1], float32[:,::1], float32)", fastmath=True, nogil=True, cache=True)
def transform_planes(planes, matrix, mean_grey):  # pragma: no cover
    """planes float32 [3, H, W] of R, G, B -> matrix times (R, G, B, mean_grey, 1), in place."""
    m00, m01, m02, offset0 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3] * mean_grey + matrix[0, 4]
    m10, m11, m12, offset1 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3] * mean_grey + matrix[1, 4]
    m20, m21, m22, offset2 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3] * mean_grey + matrix[2, 4]
    for y in range(planes.shape[1]):
        red_plane, green_plane, blue_plane = planes[0, y], planes[1, y], planes[2, y]
        for x in range(planes.shape[2]):
            r, g, b = red_plane[x], green_plane[x], blue_plane[x]
            red_plane[x] = m00 * r + m01 * g + m02 * b + offset0
            green_plane[x] = m10 * r + m11 * g + m12 * b + offset1
            blue_plane[x] = m20 * r + m21 * g + m22 * b + offset2


@numba.njit("void(float32[:,:,::1])", nogil=True, cache=True)
def reverse_rows(planes):  # pragma: no cover
    """Every row of planes float32 [C, H, W] reversed in place."""
    width = planes.shape[2]
    for c in range(planes.shape[0]):
        for y in range(planes.shape[1]):
            row = planes[c, y]
            for x in range(width // 2):
                row[x], row[width - 1 - x] = row[width - 1 - x], row[x]


@numba.njit("void(float32[:,:,::1], uint8[:,:,::1], float32[:,::1], boolean)", fastmath=True, nogil=True, cache=True)
def apply_colour(out, image, matrix, flip):  # pragma: no cover
    """out float32 [3, H, W] = matrix float32 [3, 5] times (R, G, B, mean grey, 1) of image uint8 [H, W, 3]."""
    height, width = image.shape[0], image.shape[1]
    reds = greens = blues = 0.0
    for y in range(height):
        row, red_plane, green_plane, blue_plane = image[y], out[0, y], out[1, y], out[2, y]
        red = green = blue = np.float32(0)
        for x in range(width):
            r, g, b = np.float32(row[x, 0]), np.float32(row[x, 1]), np.float32(row[x, 2])
            red_plane[x], green_plane[x], blue_plane[x] = r, g, b
            red += r
            green += g
            blue += b
        reds += red
        greens += green
        blues += blue
    mean_grey = np.float32((0.299 * reds + 0.587 * greens + 0.114 * blues) / (height * width))
    transform_planes(out, matrix, mean_grey)
    if flip:
        reverse_rows(out)


_pointers = types.CPointer(types.voidptr)
_shapes = types.CPointer(types.CPointer(types.int64))
_dims = types.voidptr


@numba.cfunc(types.void(_shapes, _dims, types.int32, _shapes, _dims, types.int32, types.int32), cache=True)
def planes_shape(outs, out_ndims, num_outs, ins, in_ndims, num_ins, num_samples):  # pragma: no cover
    """DALI's setup function: [3, H, W] for each image [H, W, 3]."""
    for sample in range(num_samples):
        outs[sample][0], outs[sample][1], outs[sample][2] = 3, ins[sample][0], ins[sample][1]


_one_side = (_pointers, _shapes, _dims, types.int32)


@numba.cfunc(types.void(*_one_side, *_one_side), cache=True)
def colour_sample(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):  # pragma: no cover
    """DALI's run function for one sample: image uint8 HWC, matrix float32 [3, 5], flip bool -> float32 CHW."""
    height, width = in_shapes[0][0], in_shapes[0][1]
    planes = numba.carray(outs[0], (3, height, width), dtype=np.float32)
    image = numba.carray(ins[0], (height, width, 3), dtype=np.uint8)
    matrix = numba.carray(ins[1], (3, 5), dtype=np.float32)
    flip = numba.carray(ins[2], (1,), dtype=np.bool_)
    apply_colour(planes, image, matrix, flip[0])

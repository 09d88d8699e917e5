"""The CPU kernels of scene parsing: a window of an image or mask -> its rectangle in an output of any height and width.

Both take the same row of the plan and sample at the same centres: of the n pixels that m pixels of the window fill,
pixel i has its centre at (i + 1/2) * m / n of the window. The image's kernel is spread around that point; the mask
takes the pixel into which it falls, as "nearest" does for images.

The function that calls window.place_window is compiled in every process, in half a second: numba's cache looks only at
the file of the function itself and would not notice a change of window.py.
"""

from __future__ import annotations

import numba
import numpy as np

from ...io.numba_cache import CACHE
from .window import RUN, SETUP, place_window


@numba.njit("void(uint8[:,::1], int64, int64, int64, int32[::1], uint8[:,::1], uint8)", cache=CACHE)
def place_mask(out, top, left, count, columns, window, ignore):  # pragma: no cover
    """out uint8 [H, W] <- window uint8 [h, w], nearest; `ignore` beside it. The rest is as in window.place_window."""
    height, width = window.shape
    starts = np.empty(columns.size, np.int64)  # once for all rows; the divisions would cost more than the copying
    for x in range(columns.size):
        # Products of floats may round up to `width`, one pixel beyond the mask.
        starts[x] = min(int(np.floor((columns[x] + 0.5) * (width / columns.size))), width - 1)
    for y in range(out.shape[0]):
        line = out[y]
        if y < top or y >= top + count:
            line[:] = ignore
            continue
        row = window[min(int(np.floor((y - top + 0.5) * (height / count))), height - 1)]
        line[:left], line[left + columns.size :] = ignore, ignore
        for x in range(columns.size):
            line[left + x] = row[starts[x]]


@numba.njit("int32[::1](int64, int64)", cache=CACHE)
def _columns(count, flip):  # pragma: no cover
    """0, 1, ..., count - 1, reversed for a flip."""
    forward = np.arange(count).astype(np.int32)
    return forward[::-1].copy() if flip else forward


@numba.cfunc(SETUP, cache=CACHE)
def planes_shape(outs, out_ndims, num_outs, ins, in_ndims, num_ins, num_samples):  # pragma: no cover
    """DALI's setup function: [1, 3, H, W] from the first input, an empty [0, H, W]; it sees no other input's shape."""
    for sample in range(num_samples):
        outs[sample][0], outs[sample][1] = 1, 3
        outs[sample][2], outs[sample][3] = ins[sample][1], ins[sample][2]


@numba.cfunc(SETUP, cache=CACHE)
def mask_shape(outs, out_ndims, num_outs, ins, in_ndims, num_ins, num_samples):  # pragma: no cover
    """As planes_shape: [1, H, W]."""
    for sample in range(num_samples):
        outs[sample][0], outs[sample][1], outs[sample][2] = 1, ins[sample][1], ins[sample][2]


@numba.cfunc(RUN)  # without the cache, which would go on serving an old place_window, see above
def placed_planes_sample(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):  # pragma: no cover
    """DALI's run function for one sample: size, window, placed, flip, kernel, matrix -> planes."""
    planes = numba.carray(outs[0], (3, in_shapes[0][1], in_shapes[0][2]), dtype=np.float32)
    window = numba.carray(ins[1], (in_shapes[1][0], in_shapes[1][1], 3), dtype=np.uint8)
    top, left, height, width = numba.carray(ins[2], (4,), dtype=np.int32)
    columns = _columns(width, numba.carray(ins[3], (1,), dtype=np.int32)[0])
    kernel = numba.carray(ins[4], (1,), dtype=np.int32)[0]
    place_window(planes, top, left, height, columns, window, numba.carray(ins[5], (3, 5), dtype=np.float32), kernel)


@numba.cfunc(RUN, cache=CACHE)
def placed_mask_sample(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):  # pragma: no cover
    """DALI's run function for one sample: size, mask's window, placed, flip, ignore index -> mask."""
    out = numba.carray(outs[0], (in_shapes[0][1], in_shapes[0][2]), dtype=np.uint8)
    window = numba.carray(ins[1], (in_shapes[1][0], in_shapes[1][1]), dtype=np.uint8)
    top, left, height, width = numba.carray(ins[2], (4,), dtype=np.int32)
    columns = _columns(width, numba.carray(ins[3], (1,), dtype=np.int32)[0])
    place_mask(out, top, left, height, columns, window, numba.carray(ins[4], (1,), dtype=np.uint8)[0])

"""The CPU kernel: a decoded window, uint8 HWC of any size -> resampled, coloured, normalised float32 planes.

It is separable and antialiased as DALI's resize is, with the same filters, but has no intermediate image and does not
round to whole levels in between. A row of the output is gathered vertically over contiguous bytes, which vectorises,
then horizontally tap by tap; results are clamped to 0..255 and summed for the mean grey. A second pass applies the
3 x 5 colour matrix in place. A flip costs nothing: it only reverses the table of columns, so that every read and write
goes forward through memory.

Numba compiles it for one signature and caches it on disk. All of it is in one file because numba's cache looks only at
the file of the function itself, not at what it calls.
"""

from __future__ import annotations

import numba
import numpy as np
from numba import types

from ...config import INTERPOLATIONS
from ...io.numba_cache import CACHE

_STEPS = 512  # table entries a pixel; linear interpolation between them is within 3e-6 of the filter
_SUPPORT = {"nearest": 0.0, "linear": 1.0, "cubic": 2.0, "lanczos": 3.0, "gaussian": 1.0}
_REACH = np.array([_SUPPORT[name] for name in INTERPOLATIONS])
_NEAREST = INTERPOLATIONS.index("nearest")


def _filters() -> np.ndarray:
    """float64 [kernels, 3 * _STEPS + 2]: each filter from 0 to 3 pixels; what lies beyond its support is never read."""
    x = np.arange(3 * _STEPS + 2) / _STEPS  # _taps reads an entry and the one after it, also at 3 pixels
    cubic = np.where(x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2)
    values = {
        "nearest": np.ones_like(x),
        "linear": 1 - x,
        "cubic": cubic,  # Keys, a = -1/2
        "lanczos": np.sinc(x) * np.sinc(x / 3),
        "gaussian": np.exp(-4 * x**2),  # DALI's: standard deviation 1 / (2 sqrt 2), cut off at 1
    }
    return np.stack([values[name] for name in INTERPOLATIONS])


_FILTERS = _filters()


@numba.njit("int64(int64, int64, int64, int64[::1], float32[:,::1])", cache=CACHE)
def _taps(source, target, kernel, starts, weights):  # pragma: no cover
    """Fill starts [target] and weights [target, most taps] for one side; returns the number of taps.

    Taps beyond the border repeat the border pixel: their weight is added to its.
    """
    scale = source / target
    stretch = max(scale, 1.0)
    reach = _REACH[kernel] * stretch
    count = min(int(np.floor(2 * reach)) + 1, source)
    for pixel in range(target):
        if kernel == _NEAREST:
            starts[pixel], weights[pixel, 0] = min(int(np.floor((pixel + 0.5) * scale)), source - 1), 1.0
            continue
        centre = (pixel + 0.5) * scale - 0.5
        first = int(np.ceil(centre - reach))
        last = int(np.floor(centre + reach))
        # Inside the window with all `count` taps: numba checks no bounds, and the last would read beyond the image.
        start = min(max(first, 0), source - count)
        starts[pixel] = start
        weights[pixel, :count] = 0.0  # they are added to, and the array comes uninitialised
        total = 0.0
        for tap in range(first, last + 1):
            at = abs(tap - centre) / stretch * _STEPS
            entry = int(at)
            below, above = _FILTERS[kernel, entry], _FILTERS[kernel, entry + 1]
            value = below + (at - entry) * (above - below)
            weights[pixel, min(max(tap, 0), source - 1) - start] += np.float32(value)
            total += value
        for tap in range(count):  # divide by the sum, so that a grey image keeps its level
            weights[pixel, tap] /= np.float32(total)
    return 1 if kernel == _NEAREST else count


@numba.njit("void(float32[::1], uint8[:,::1], int64, float32[::1], int64)", fastmath=True, cache=CACHE)
def _gather_rows(out, rows, start, weights, count):  # pragma: no cover
    """out float32 [n] = sum of weights[k] * rows[start + k], over contiguous bytes."""
    # Taps outside, bytes inside: the other way round nothing vectorises, as the bytes of one sum lie a row apart.
    row, weight = rows[start], weights[0]  # the first tap writes where the others add, so `out` need not be cleared
    for i in range(out.size):
        out[i] = weight * np.float32(row[i])
    for tap in range(1, count):
        row, weight = rows[start + tap], weights[tap]
        for i in range(out.size):
            out[i] += weight * np.float32(row[i])


@numba.njit("void(float32[:,:,::1], float32[:,::1], float32)", fastmath=True, cache=CACHE)
def transform_planes(planes, matrix, mean_grey):  # pragma: no cover
    """planes float32 [3, H, W] of R, G, B -> matrix times (R, G, B, mean_grey, 1), in place."""
    # Scalars: planes and matrix may overlap for all the compiler knows, so it would load nine numbers for each pixel.
    m00, m01, m02, offset0 = matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3] * mean_grey + matrix[0, 4]
    m10, m11, m12, offset1 = matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3] * mean_grey + matrix[1, 4]
    m20, m21, m22, offset2 = matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3] * mean_grey + matrix[2, 4]
    for y in range(planes.shape[1]):
        reds, greens, blues = planes[0, y], planes[1, y], planes[2, y]
        for x in range(planes.shape[2]):
            r, g, b = reds[x], greens[x], blues[x]
            reds[x] = m00 * r + m01 * g + m02 * b + offset0
            greens[x] = m10 * r + m11 * g + m12 * b + offset1
            blues[x] = m20 * r + m21 * g + m22 * b + offset2


@numba.njit("void(float32[::1], float32[::1], int64[::1], float32[:,::1], int64)", fastmath=True, cache=CACHE)
def _gather_columns(out, line, starts, weights, count):  # pragma: no cover
    """out float32 [4 * S]: R, G, B and an unused number, each the sum of weights[x, k] * line[3 * (start + k)].

    Four sums side by side become one vector operation; the fourth reads the next pixel's red, so `line` is one longer.
    Indices are unsigned because numba checks signed ones for negative values, which would break the vectorisation.
    """
    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
    for x in range(starts.size):
        at = np.uint64(3 * starts[x])
        r = g = b = unused = np.float32(0)
        taps = weights[x]
        for tap in range(count):
            weight = taps[tap]
            r += weight * line[at]
            g += weight * line[at + one]
            b += weight * line[at + two]
            unused += weight * line[at + three]
            at += three
        to = four * np.uint64(x)
        out[to], out[to + one], out[to + two], out[to + three] = r, g, b, unused


@numba.njit("float64(float32[::1], float32[::1], float32[::1], float32[::1])", fastmath=True, cache=CACHE)
def _store(reds, greens, blues, row):  # pragma: no cover
    """Clamp row float32 [4 * S] to 0..255 into three planes' rows [S]; returns the sum of their grey."""
    # Clamped here, as rounding to levels would, or the overshoot of cubic and lanczos would shift the mean grey.
    low, high = np.float32(0), np.float32(255)
    red = green = blue = np.float32(0)
    for x in range(reds.size):
        r, g, b = row[4 * x], row[4 * x + 1], row[4 * x + 2]
        r, g, b = min(max(r, low), high), min(max(g, low), high), min(max(b, low), high)
        reds[x], greens[x], blues[x] = r, g, b
        red += r
        green += g
        blue += b
    return 0.299 * red + 0.587 * green + 0.114 * blue


@numba.njit("void(uint8[::1], uint8[::1], uint8[::1], float32[::1])", fastmath=True, cache=CACHE)
def _store_levels(reds, greens, blues, row):  # pragma: no cover
    """Round row float32 [4 * S] to whole levels of 0..255, into three planes' rows [S]."""
    low, high, half = np.float32(0), np.float32(255), np.float32(0.5)
    for x in range(reds.size):
        r, g, b = row[4 * x], row[4 * x + 1], row[4 * x + 2]
        reds[x] = np.uint8(min(max(r, low), high) + half)
        greens[x] = np.uint8(min(max(g, low), high) + half)
        blues[x] = np.uint8(min(max(b, low), high) + half)


@numba.njit(
    "Tuple((int64[::1], float32[:,::1], int64, int64[::1], float32[:,::1], int64))"
    "(int64, int64, int64, int32[::1], int64)",
    cache=CACHE,
)
def _tables(height, width, rows, columns, kernel):  # pragma: no cover
    """starts, weights and number of taps for `rows` rows, and for the columns in the order of `columns`."""
    # Room for the widest filter: 2 * 3 * scale + 1 taps, and a few for rounding. _taps does not check it.
    most_down, most_across = int(np.ceil(6.0 * height / rows)) + 8, int(np.ceil(6.0 * width / columns.size)) + 8
    row_starts, row_weights = np.empty(rows, np.int64), np.empty((rows, most_down), np.float32)
    starts, weights = np.empty(columns.size, np.int64), np.empty((columns.size, most_across), np.float32)
    row_taps = _taps(height, rows, kernel, row_starts, row_weights)
    column_taps = _taps(width, columns.size, kernel, starts, weights)
    # Reordered here, a flip needs no second path: gathering and storing stay in ascending order.
    return row_starts, row_weights, row_taps, starts[columns], weights[columns], column_taps


@numba.njit(
    "void(float32[:,:,::1], int64, int64, int64, int32[::1], uint8[:,:,::1], float32[:,::1], int64)",
    fastmath=True,
    cache=CACHE,
)
def place_window(planes, top, left, count, columns, window, matrix, kernel):  # pragma: no cover
    """planes float32 [3, H, W] <- window uint8 [h, w, 3] RGB, h and w at least 1; 0, the mean colour, beside it.

    The window fills `count` rows from `top` and columns.size columns from `left`; its mean grey is that of these.
    columns int32: the column of the resampled image for each column of the output: 0, 1, ..., or reversed for a flip.
    matrix float32 [3, 5], see colour.matrices. kernel: number in config.INTERPOLATIONS.
    """
    height, width, right, bottom = window.shape[0], window.shape[1], left + columns.size, top + count
    row_starts, row_weights, row_taps, starts, weights, column_taps = _tables(height, width, count, columns, kernel)
    rows = window.reshape(height, 3 * width)
    line, row = np.zeros(3 * width + 1, np.float32), np.empty(4 * columns.size, np.float32)
    grey = 0.0  # float64, as the levels of a large window add up to more than float32 tells apart
    for y in range(count):
        _gather_rows(line[: 3 * width], rows, row_starts[y], row_weights[y], row_taps)
        _gather_columns(row, line, starts, weights, column_taps)
        reds, greens, blues = planes[0, top + y], planes[1, top + y], planes[2, top + y]
        grey += _store(reds[left:right], greens[left:right], blues[left:right], row)
    transform_planes(planes, matrix, np.float32(grey / (count * columns.size)))
    # Last: DALI's buffer holds old pixels there, and the transform would have turned zeros into the colour's offset.
    planes[:, :top], planes[:, bottom:] = 0, 0
    planes[:, :, :left], planes[:, :, right:] = 0, 0


@numba.njit("void(float32[:,:,::1], int32[::1], uint8[:,:,::1], float32[:,::1], int64)", fastmath=True, cache=CACHE)
def window_to_planes(planes, columns, window, matrix, kernel):  # pragma: no cover
    """planes float32 [3, S, S] <- window, see place_window: it fills them."""
    place_window(planes, 0, 0, columns.size, columns, window, matrix, kernel)


@numba.njit("void(uint8[:,:,::1], int32[::1], uint8[:,:,::1], int64)", fastmath=True, cache=CACHE)
def window_to_levels(planes, columns, window, kernel):  # pragma: no cover
    """planes uint8 [3, S, S] <- window: as window_to_planes, without colour, rounded to whole levels."""
    size, height, width = columns.size, window.shape[0], window.shape[1]
    row_starts, row_weights, row_taps, starts, weights, column_taps = _tables(height, width, size, columns, kernel)
    rows = window.reshape(height, 3 * width)
    line, row = np.zeros(3 * width + 1, np.float32), np.empty(4 * size, np.float32)
    for y in range(size):
        _gather_rows(line[: 3 * width], rows, row_starts[y], row_weights[y], row_taps)
        _gather_columns(row, line, starts, weights, column_taps)
        _store_levels(planes[0, y], planes[1, y], planes[2, y], row)


@numba.njit("uint8[:,:,::1](uint8[:,:,::1], int32[::1])", cache=CACHE)
def _part(region, window):  # pragma: no cover
    """The window y, x, height, width of a region, copied unless it is all of it."""
    y, x, height, width = window
    if height == region.shape[0] and width == region.shape[1]:
        return region
    return region[y : y + height, x : x + width].copy()  # contiguous, because the kernels reshape it to rows of bytes


# The signatures of DALI's setup and run functions, as its numba plugin calls them. Nothing checks them at run time: a
# type that differs from the plugin's reads other memory.
_shapes = types.CPointer(types.CPointer(types.int64))
SETUP = types.void(_shapes, types.voidptr, types.int32, _shapes, types.voidptr, types.int32, types.int32)
_one_side = (types.CPointer(types.voidptr), _shapes, types.voidptr, types.int32)
RUN = types.void(*_one_side, *_one_side)


@numba.cfunc(SETUP, cache=CACHE)
def views_shape(outs, out_ndims, num_outs, ins, in_ndims, num_ins, num_samples):  # pragma: no cover
    """DALI's setup function: [V, 3, S, S] from the first input, columns [V, S]; it sees no other input's shape."""
    for sample in range(num_samples):
        outs[sample][0], outs[sample][1] = ins[sample][0], 3
        outs[sample][2], outs[sample][3] = ins[sample][1], ins[sample][1]


@numba.njit(cache=CACHE)
def _inputs(ins, in_shapes):  # pragma: no cover
    """columns, region, windows and kernels, the inputs that both run functions have."""
    views, size = in_shapes[0][0], in_shapes[0][1]
    region = numba.carray(ins[1], (in_shapes[1][0], in_shapes[1][1], 3), dtype=np.uint8)
    columns, windows = numba.carray(ins[0], (views, size), np.int32), numba.carray(ins[2], (views, 4), np.int32)
    return columns, region, windows, numba.carray(ins[3], (views,), np.int32)


@numba.cfunc(RUN, cache=CACHE)
def planes_sample(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):  # pragma: no cover
    """DALI's run function for one sample: columns, region, windows, kernels, matrices -> planes of each view."""
    columns, region, windows, kernels = _inputs(ins, in_shapes)
    views, size = columns.shape
    planes = numba.carray(outs[0], (views, 3, size, size), dtype=np.float32)
    matrices = numba.carray(ins[4], (views, 3, 5), dtype=np.float32)
    for view in range(views):
        window = _part(region, windows[view])
        window_to_planes(planes[view], columns[view], window, matrices[view], kernels[view])


@numba.cfunc(RUN, cache=CACHE)
def levels_sample(outs, out_shapes, out_ndims, num_outs, ins, in_shapes, in_ndims, num_ins):  # pragma: no cover
    """DALI's run function for one sample: columns, region, windows, kernels -> whole levels of each view."""
    columns, region, windows, kernels = _inputs(ins, in_shapes)
    views, size = columns.shape
    planes = numba.carray(outs[0], (views, 3, size, size), dtype=np.uint8)
    for view in range(views):
        window_to_levels(planes[view], columns[view], _part(region, windows[view]), kernels[view])

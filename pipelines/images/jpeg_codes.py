"""The loops that read the codes of a JPEG's scans, compiled; see `jpeg_scan` for what they are given."""

from __future__ import annotations

import numba
import numpy as np

from ..io.numba_cache import CACHE

FAST_BITS = 9  # of codes that one look at a table decodes
SEQUENTIAL_MODE, DC_FIRST, DC_AGAIN, AC_FIRST, AC_AGAIN = range(5)  # how a scan's blocks are coded
WHOLE, ENDS_EARLY, BAD_CODE, NO_RESTART = 0, 1, 2, 3


@numba.njit(cache=CACHE)
def fill_table(
    fast: np.ndarray, limit: np.ndarray, offset: np.ndarray, table: np.ndarray, counts: np.ndarray, symbols: np.ndarray
) -> None:
    """One row of the tables, from the number of codes of each length and their symbols (T.81, annex C)."""
    fast[:], limit[:] = 0, 0
    table[: len(symbols)] = symbols
    code = index = 0
    for length in range(1, 17):
        offset[length] = index - code
        for _ in range(min(counts[length - 1], len(symbols) - index)):
            if length <= FAST_BITS:
                begin = code << (FAST_BITS - length)
                fast[begin : begin + (1 << (FAST_BITS - length))] = length << 8 | symbols[index]
            code += 1
            index += 1
        limit[length] = code << (16 - length)
        code <<= 1


@numba.njit(nogil=True, cache=CACHE)
def _refill(data: np.ndarray, at: int, buffer: int, count: int) -> tuple[int, int, int]:
    """More bits from the left into the buffer, until a marker or the end."""
    while count <= 56 and at < len(data):
        if data[at] == 0xFF:
            if at + 1 >= len(data) or data[at + 1] != 0:
                break
            buffer |= np.uint64(0xFF) << np.uint64(56 - count)
            at += 2
        else:
            buffer |= np.uint64(data[at]) << np.uint64(56 - count)
            at += 1
        count += 8
    return at, buffer, count


@numba.njit(nogil=True, cache=CACHE)
def _long_code(buffer: int, limit: np.ndarray, offset: np.ndarray, symbols: np.ndarray, row: int) -> tuple[int, int]:
    """Length and symbol of the code in front, of more than 9 bits; (0, 0) where there is none."""
    ahead = np.int64(buffer >> np.uint64(48))
    for length in range(FAST_BITS + 1, 17):
        if ahead < limit[row, length]:
            return length, int(symbols[row, (offset[row, length] + (ahead >> (16 - length))) & 255])
    return 0, 0


@numba.njit(nogil=True, cache=CACHE)
def marker_from(data: np.ndarray, at: int, restarts: bool) -> int:
    """Where the next marker stands, `len(data)` for none; `restarts`: whether those of a restart count."""
    while at + 1 < len(data):
        kind = data[at + 1]
        if data[at] == 0xFF and kind != 0 and kind != 0xFF and (restarts or not 0xD0 <= kind <= 0xD7):
            return at
        at += 1
    return len(data)


@numba.njit(nogil=True, cache=CACHE)
def read_scan(
    data: np.ndarray,
    at: int,
    fast: np.ndarray,
    limit: np.ndarray,
    offset: np.ndarray,
    symbols: np.ndarray,
    rows: np.ndarray,
    units: int,
    restart: int,
    mode: int,
    first: int,
    last: int,
    nonzero: np.ndarray,
) -> tuple[int, int]:
    """The verdict on one scan of `units`, each of a block for every row of `rows` (its DC and its AC table).

    The count of bits falls below 0 where codes are read beyond the end; what lies there reads as zeros.
    """
    buffer, count, empty_blocks = np.uint64(0), 0, 0
    for unit in range(units):
        if restart and unit and unit % restart == 0:
            at = marker_from(data, at, True)
            if at == len(data) or data[at + 1] != 0xD0 + (unit // restart - 1) % 8:
                return NO_RESTART, at
            at, buffer, count, empty_blocks = at + 2, np.uint64(0), 0, 0
        for block in range(len(rows)):
            k, end = 0, 64
            dc_row, ac_row = rows[block, 0], rows[block, 1]
            if mode >= AC_FIRST:
                k, end = first, last + 1
            elif mode != SEQUENTIAL_MODE:
                end = 1
            if mode == DC_AGAIN:
                at, buffer, count = _refill(data, at, buffer, count)
                buffer, count, k = buffer << np.uint64(1), count - 1, end
            elif empty_blocks:  # of a run: only earlier coefficients have bits here
                at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, end, mode)
                empty_blocks, k = empty_blocks - 1, end
            while k < end:
                if count < 32:
                    at, buffer, count = _refill(data, at, buffer, count)
                row = dc_row if k == 0 else ac_row
                entry = np.int64(fast[np.uint64(row << FAST_BITS) | buffer >> np.uint64(64 - FAST_BITS)])
                length, symbol = entry >> 8, entry & 255
                if entry == 0:
                    length, symbol = _long_code(buffer, limit, offset, symbols, row)
                size, zeros = symbol & 15, symbol >> 4
                if mode == SEQUENTIAL_MODE and k > 0 and length:  # nearly all codes of nearly all files
                    buffer, count = buffer << np.uint64(length + size), count - length - size
                    k = k + zeros + 1 if size or zeros == 15 else 64
                    continue
                if length == 0 and count >= 16:
                    return BAD_CODE, at
                if k == 0:
                    size, zeros = min(symbol, 15), 0
                elif size == 0 and zeros < 15 and mode != SEQUENTIAL_MODE:
                    run = np.int64(buffer << np.uint64(length) >> np.uint64(64 - zeros)) if zeros else 0
                    buffer, count = buffer << np.uint64(length + zeros), count - length - zeros
                    empty_blocks = (1 << zeros) + run - 1
                    at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, end, mode)
                    break
                buffer, count = buffer << np.uint64(length + size), count - length - size
                if k > 0 and size == 0 and zeros < 15:
                    break
                if mode == AC_AGAIN:
                    reached = _after_zeros(nonzero[unit], k, end, zeros)
                    at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, reached, mode)
                    k = reached
                else:
                    k += zeros
                if mode >= AC_FIRST and size and k < end:
                    nonzero[unit] |= np.uint64(1) << np.uint64(k)
                k += 1
                if count < 0:
                    return ENDS_EARLY, at
            if count < 0:
                return ENDS_EARLY, at
    return WHOLE, marker_from(data, at, False)


@numba.njit(nogil=True, cache=CACHE)
def _after_zeros(nonzero: int, k: int, end: int, zeros: int) -> int:
    """The place of the coefficient behind `zeros` more that no earlier scan made nonzero, from k on; else `end`."""
    while k < end:
        if not nonzero >> np.uint64(k) & np.uint64(1):
            if zeros == 0:
                return k
            zeros -= 1
        k += 1
    return end


@numba.njit(nogil=True, cache=CACHE)
def _correct(
    data: np.ndarray, at: int, buffer: int, count: int, nonzero: np.ndarray, unit: int, k: int, end: int, mode: int
) -> tuple[int, int, int]:
    """Skip a bit for each coefficient of [k, end) that earlier scans made nonzero."""
    if mode == AC_AGAIN:
        for place in range(k, end):
            if nonzero[unit] >> np.uint64(place) & np.uint64(1):
                if count < 1:
                    at, buffer, count = _refill(data, at, buffer, count)
                buffer, count = buffer << np.uint64(1), count - 1
    return at, buffer, count

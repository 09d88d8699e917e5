"""Whether the entropy-coded data of a JPEG reach to its last block, found by reading all codes and decoding no pixels.

A JPEG that was cut off and given an end marker decodes without an error: libjpeg fills the rest with grey, and prints
"premature end of data segment" at most. Here the Huffman codes of each scan (ITU-T T.81, annexes F.2 and G.2; baseline,
extended and progressive) are read as a decoder reads them. Restart markers that are missing, and codes that no table
has, are damage too. Extraneous bytes after a whole scan are not: many cameras write them.

Arithmetic-coded files are not judged, nor are those that leave out tables. Measured: 0.5 ms for a photograph of 110 KB.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import numba
import numpy as np

from ..io.numba_cache import CACHE

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_FAST_BITS = 9  # of codes that one look at a table decodes
_SEQUENTIAL_MODE, _DC_FIRST, _DC_AGAIN, _AC_FIRST, _AC_AGAIN = range(5)  # how a scan's blocks are coded
_WHOLE, _ENDS_EARLY, _BAD_CODE, _NO_RESTART = 0, 1, 2, 3
_REASONS = {
    _ENDS_EARLY: "is truncated: the data of the JPEG end before its pixels do",
    _BAD_CODE: "is damaged: the data of the JPEG hold a code that its tables have not",
    _NO_RESTART: "is damaged: the JPEG lacks a restart marker",
}

# Tables of code words, a row for each of 4 DC and 4 AC tables: `fast` by the next 9 bits, length * 256 + symbol, 0 for
# longer codes; `limit` by length, the first 16 bits above the codes of at most so many bits; `offset` to their symbols.
_Tables = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def scan_fault(data: bytes | memoryview) -> str | None:
    """What is wrong with the scans of a JPEG whose header is sound (see `probe`), else None; None for other formats."""
    if data[:2] != b"\xff\xd8":
        return None
    try:
        return _Scans(data).fault()
    except (IndexError, ValueError, ZeroDivisionError, struct.error):
        return "is damaged or truncated: a segment of the JPEG is cut off or has numbers that it cannot have"


@dataclass
class _Component:
    blocks: tuple[int, int]
    """Rows and columns of blocks that its samples fill."""
    sampling: tuple[int, int]
    """Vertical and horizontal sampling factor."""
    nonzero: np.ndarray
    """uint64 [blocks]: a bit for each coefficient that earlier scans made nonzero; empty unless progressive."""
    scanned: bool = False


@dataclass
class _Scans:
    """The segments of one file, read in order."""

    data: bytes | memoryview
    components: dict[int, _Component] = field(default_factory=dict)
    units: int = 0
    """Units of several components that a scan of all of them has."""
    progressive: bool = False
    restart: int = 0

    def __post_init__(self) -> None:
        self.bytes = np.frombuffer(self.data, np.uint8)
        self.tables: _Tables = (
            np.zeros(8 << _FAST_BITS, np.uint16),
            np.zeros((8, 18), np.int64),
            np.zeros((8, 17), np.int64),
            np.zeros((8, 256), np.uint8),
        )
        self.defined: set[int] = set()

    def fault(self) -> str | None:
        position = 2
        while True:
            position = _marker_from(self.bytes, position, False)
            marker = self.data[position + 1]
            if marker == 0xD9:
                break
            if marker == 0x01:  # no segment
                position += 2
                continue
            (length,) = struct.unpack_from(">H", self.data, position + 2)
            content = bytes(self.data[position + 4 : position + 2 + length])
            position += 2 + length
            if marker in _SEQUENTIAL or marker == _PROGRESSIVE:
                self._frame(content, progressive=marker == _PROGRESSIVE)
            elif marker == 0xC4:
                self._define(content)
            elif marker == 0xDD:
                (self.restart,) = struct.unpack(">H", content[:2])
            elif marker == 0xDA:
                verdict, position = self._scan(content, position)
                if verdict is None:
                    return None
                if verdict != _WHOLE:
                    return _REASONS[verdict]
            elif 0xC3 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
                return None  # arithmetic coding
        missing = self.components and not all(component.scanned for component in self.components.values())
        return _REASONS[_ENDS_EARLY] if missing else None

    def _frame(self, content: bytes, *, progressive: bool) -> None:
        height, width, count = struct.unpack_from(">HHB", content, 1)
        fields = [content[6 + 3 * k : 9 + 3 * k] for k in range(count)]
        self.components.clear()
        most_v, most_h = max(f[1] & 15 for f in fields), max(f[1] >> 4 for f in fields)
        self.progressive = progressive
        self.units = math.ceil(height / (8 * most_v)) * math.ceil(width / (8 * most_h))
        for name, factors, _ in fields:
            v, h = factors & 15, factors >> 4
            blocks = math.ceil(height * v / most_v / 8), math.ceil(width * h / most_h / 8)
            nonzero = np.zeros(blocks[0] * blocks[1] if progressive else 0, np.uint64)
            self.components[name] = _Component(blocks, (v, h), nonzero)

    def _define(self, content: bytes) -> None:
        while content:
            row = (content[0] >> 4) * 4 + (content[0] & 3)
            counts = np.frombuffer(content[1:17], np.uint8)
            total = int(counts.sum())
            if total > 256:
                raise ValueError("more symbols than there are")
            fast, limit, offset, table = self.tables
            symbols = np.frombuffer(content[17 : 17 + total], np.uint8)
            _fill_table(fast.reshape(8, -1)[row], limit[row], offset[row], table[row], counts, symbols)
            self.defined.add(row)
            content = content[17 + total :]

    def _scan(self, content: bytes, position: int) -> tuple[int | None, int]:
        """The verdict on a scan, None where it cannot be judged, and where the next marker stands."""
        count = content[0]
        chosen = [(content[1 + 2 * k], content[2 + 2 * k]) for k in range(count)]
        first, last, approximation = content[1 + 2 * count : 4 + 2 * count]
        if not count or any(name not in self.components for name, _ in chosen):
            return None, position
        members = [self.components[name] for name, _ in chosen]
        for member in members:
            member.scanned = True
        units, rows = self.units, []
        for member, (_, tables) in zip(members, chosen, strict=True):
            rows += [[tables >> 4, 4 + (tables & 15)]] * (member.sampling[0] * member.sampling[1])
        if count == 1:  # then the units are single blocks, of those that samples fill
            units, rows = members[0].blocks[0] * members[0].blocks[1], rows[:1]
        mode = _SEQUENTIAL_MODE
        if self.progressive:
            mode = 1 + 2 * (first > 0) + (approximation >> 4 > 0)
        used = {_SEQUENTIAL_MODE: (0, 1), _DC_FIRST: (0,), _DC_AGAIN: ()}.get(mode, (1,))
        if not {row[k] for row in rows for k in used} <= self.defined or (
            mode > _DC_AGAIN and (count > 1 or not first <= last < 64)
        ):
            return None, position
        nonzero = members[0].nonzero
        return _read(
            self.bytes, position, *self.tables, np.array(rows), units, self.restart, mode, first, last, nonzero
        )


@numba.njit(cache=CACHE)
def _fill_table(
    fast: np.ndarray, limit: np.ndarray, offset: np.ndarray, table: np.ndarray, counts: np.ndarray, symbols: np.ndarray
) -> None:
    """One row of the tables, from the number of codes of each length and their symbols (T.81, annex C)."""
    fast[:], limit[:] = 0, 0
    table[: len(symbols)] = symbols
    code = index = 0
    for length in range(1, 17):
        offset[length] = index - code
        for _ in range(min(counts[length - 1], len(symbols) - index)):
            if length <= _FAST_BITS:
                begin = code << (_FAST_BITS - length)
                fast[begin : begin + (1 << (_FAST_BITS - length))] = length << 8 | symbols[index]
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
    for length in range(_FAST_BITS + 1, 17):
        if ahead < limit[row, length]:
            return length, int(symbols[row, (offset[row, length] + (ahead >> (16 - length))) & 255])
    return 0, 0


@numba.njit(nogil=True, cache=CACHE)
def _marker_from(data: np.ndarray, at: int, restarts: bool) -> int:
    """Where the next marker stands, `len(data)` for none; `restarts`: whether those of a restart count."""
    while at + 1 < len(data):
        kind = data[at + 1]
        if data[at] == 0xFF and kind != 0 and kind != 0xFF and (restarts or not 0xD0 <= kind <= 0xD7):
            return at
        at += 1
    return len(data)


@numba.njit(nogil=True, cache=CACHE)
def _read(
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
            at = _marker_from(data, at, True)
            if at == len(data) or data[at + 1] != 0xD0 + (unit // restart - 1) % 8:
                return _NO_RESTART, at
            at, buffer, count, empty_blocks = at + 2, np.uint64(0), 0, 0
        for block in range(len(rows)):
            k, end = 0, 64
            dc_row, ac_row = rows[block, 0], rows[block, 1]
            if mode >= _AC_FIRST:
                k, end = first, last + 1
            elif mode != _SEQUENTIAL_MODE:
                end = 1
            if mode == _DC_AGAIN:
                at, buffer, count = _refill(data, at, buffer, count)
                buffer, count, k = buffer << np.uint64(1), count - 1, end
            elif empty_blocks:  # of a run: only earlier coefficients have bits here
                at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, end, mode)
                empty_blocks, k = empty_blocks - 1, end
            while k < end:
                if count < 32:
                    at, buffer, count = _refill(data, at, buffer, count)
                row = dc_row if k == 0 else ac_row
                entry = np.int64(fast[np.uint64(row << _FAST_BITS) | buffer >> np.uint64(64 - _FAST_BITS)])
                length, symbol = entry >> 8, entry & 255
                if entry == 0:
                    length, symbol = _long_code(buffer, limit, offset, symbols, row)
                size, zeros = symbol & 15, symbol >> 4
                if mode == _SEQUENTIAL_MODE and k > 0 and length:  # nearly all codes of nearly all files
                    buffer, count = buffer << np.uint64(length + size), count - length - size
                    k = k + zeros + 1 if size or zeros == 15 else 64
                    continue
                if length == 0 and count >= 16:
                    return _BAD_CODE, at
                if k == 0:
                    size, zeros = min(symbol, 15), 0
                elif size == 0 and zeros < 15 and mode != _SEQUENTIAL_MODE:
                    run = np.int64(buffer << np.uint64(length) >> np.uint64(64 - zeros)) if zeros else 0
                    buffer, count = buffer << np.uint64(length + zeros), count - length - zeros
                    empty_blocks = (1 << zeros) + run - 1
                    at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, end, mode)
                    break
                buffer, count = buffer << np.uint64(length + size), count - length - size
                if k > 0 and size == 0 and zeros < 15:
                    break
                if mode == _AC_AGAIN:
                    while k < end:
                        if nonzero[unit] >> np.uint64(k) & np.uint64(1):
                            at, buffer, count = _correct(data, at, buffer, count, nonzero, unit, k, k + 1, mode)
                        elif zeros == 0:
                            break
                        else:
                            zeros -= 1
                        k += 1
                else:
                    k += zeros
                if mode >= _AC_FIRST and size and k < end:
                    nonzero[unit] |= np.uint64(1) << np.uint64(k)
                k += 1
                if count < 0:
                    return _ENDS_EARLY, at
            if count < 0:
                return _ENDS_EARLY, at
    return _WHOLE, _marker_from(data, at, False)


@numba.njit(nogil=True, cache=CACHE)
def _correct(
    data: np.ndarray, at: int, buffer: int, count: int, nonzero: np.ndarray, unit: int, k: int, end: int, mode: int
) -> tuple[int, int, int]:
    """Skip a bit for each coefficient of [k, end) that earlier scans made nonzero."""
    if mode == _AC_AGAIN:
        for place in range(k, end):
            if nonzero[unit] >> np.uint64(place) & np.uint64(1):
                if count < 1:
                    at, buffer, count = _refill(data, at, buffer, count)
                buffer, count = buffer << np.uint64(1), count - 1
    return at, buffer, count

"""Whether the entropy-coded data of a JPEG reach to its last block, found by reading all codes and decoding no pixels.

A JPEG that was cut off and given an end marker decodes without an error: libjpeg fills the rest with grey, and prints
"premature end of data segment" at most. Here the Huffman codes of each scan (ITU-T T.81, annexes F.2 and G.2; baseline,
extended and progressive) are read as a decoder reads them. Restart markers that are missing, and codes that no table
has, are damage too. Extraneous bytes after a whole scan are not: many cameras write them.

Arithmetic-coded files are not judged, nor are those that leave out tables. Measured: 1.2 ms for a photograph of 100 KB.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field

import numpy as np

from .jpeg_codes import (
    BAD_CODE,
    DC_AGAIN,
    DC_FIRST,
    ENDS_EARLY,
    FAST_BITS,
    NO_RESTART,
    SEQUENTIAL_MODE,
    WHOLE,
    fill_table,
    marker_from,
    read_scan,
)

_SEQUENTIAL, _PROGRESSIVE = (0xC0, 0xC1), 0xC2
_REASONS = {
    ENDS_EARLY: "is truncated: the data of the JPEG end before its pixels do",
    BAD_CODE: "is damaged: the data of the JPEG hold a code that its tables have not",
    NO_RESTART: "is damaged: the JPEG lacks a restart marker",
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
            np.zeros(8 << FAST_BITS, np.uint16),
            np.zeros((8, 18), np.int64),
            np.zeros((8, 17), np.int64),
            np.zeros((8, 256), np.uint8),
        )
        self.defined: set[int] = set()

    def fault(self) -> str | None:
        position = 2
        while True:
            position = marker_from(self.bytes, position, False)
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
                if verdict != WHOLE:
                    return _REASONS[verdict]
            elif 0xC3 <= marker <= 0xCF and marker not in (0xC8, 0xCC):
                return None  # arithmetic coding
        missing = self.components and not all(component.scanned for component in self.components.values())
        return _REASONS[ENDS_EARLY] if missing else None

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
            fill_table(fast.reshape(8, -1)[row], limit[row], offset[row], table[row], counts, symbols)
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
        mode = SEQUENTIAL_MODE
        if self.progressive:
            mode = 1 + 2 * (first > 0) + (approximation >> 4 > 0)
        used = {SEQUENTIAL_MODE: (0, 1), DC_FIRST: (0,), DC_AGAIN: ()}.get(mode, (1,))
        if not {row[k] for row in rows for k in used} <= self.defined or (
            mode > DC_AGAIN and (count > 1 or not first <= last < 64)
        ):
            return None, position
        nonzero = members[0].nonzero
        return read_scan(
            self.bytes, position, *self.tables, np.array(rows), units, self.restart, mode, first, last, nonzero
        )

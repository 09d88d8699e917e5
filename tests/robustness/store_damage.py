"""Damage to a store file, the n-th always the same: bits, page heads, pages, truncation, and lies that fit together.

A lie is what a stranger would write: sizes, counts and offsets that are huge, negative or wrap around, with a digest
that agrees with them. Every other damage leaves the digests as they were.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from sdali.pipelines.store import format as store_format

PAGE = 4096
KINDS = ("bits", "head", "truncated", "page", "lie")
_EXTREMES = [
    -1,
    0,
    1,
    2**31 - 1,
    -(2**31),
    2**32 - 1,
    2**62,
    -(2**63),
    2**63 - 1,
    768614336404564651,
]  # 24 n wraps to 8
_WRONG = [-1, 0, 10**30, 1.5, None, "90", [], {}, True, 2**63, -(2**63)]


def damage(
    whole: bytes, header: dict[str, Any], columns: dict[str, np.ndarray], number: int, seed: int
) -> tuple[str, bytes]:
    """The kind of damage `number` and the file after it; header and columns: the store's, {} of a heatmap store."""
    rng, kind = np.random.default_rng([seed, number]), KINDS[number % len(KINDS)]
    turn, pages = number // len(KINDS), len(whole) // PAGE
    if kind == "truncated":  # at every page boundary, then anywhere
        return kind, whole[: turn * PAGE if turn < pages else int(rng.integers(len(whole)))]
    if kind == "lie":
        return kind, _lie(whole, header, columns, rng)
    file = np.frombuffer(whole, np.uint8).copy()
    if kind == "bits":
        places = rng.integers(len(file) * 8, size=2 ** int(rng.integers(8)))
        np.bitwise_xor.at(file, places // 8, (1 << (places % 8)).astype(np.uint8))
    elif kind == "head":  # of a page; the first two hold what LMDB begins with
        page, count = int(rng.integers(2 if turn % 3 == 0 else pages)), 2 ** int(rng.integers(6))
        places = page * PAGE + rng.integers(160, size=count)
        file[places] = rng.choice(np.array([0, 1, 255, rng.integers(256)], np.uint8), count)
    else:
        page, other = rng.integers(2, pages, 2) * PAGE
        content = [file[other : other + PAGE].copy(), 0, 255, rng.integers(0, 256, PAGE)][turn % 4]
        file[page : page + PAGE] = content
    return kind, file.tobytes()


def _lie(whole: bytes, header: dict[str, Any], columns: dict[str, np.ndarray], rng: np.random.Generator) -> bytes:
    """The file with another header of the same length, or other columns and a digest of them."""
    old, new = json.dumps(header).encode(), dict(header)
    if not columns or rng.random() < 0.4:
        names = sorted(name for name in new if name != "provenance")
        for name in rng.choice(names, int(rng.integers(1, 3))).tolist():
            new[name] = _WRONG[int(rng.integers(len(_WRONG)))]
    else:
        name = str(rng.choice(sorted(name for name in columns if name != "names")))
        column, limits = columns[name].copy(), np.iinfo(columns[name].dtype)
        for place in rng.integers(len(column), size=int(rng.integers(1, 4))):
            extreme = _EXTREMES[int(rng.integers(len(_EXTREMES)))]
            column[place] = min(max(extreme, limits.min), limits.max)
        whole = whole.replace(columns[name].tobytes(), column.tobytes())
        new["digest"] = store_format.digest({**columns, name: column}, header["classes"], header.get("ignore_index"))
    if "provenance" in new:
        new["provenance"] = {}  # which was long, so that there is room
    encoded = json.dumps(new).encode()
    return whole if len(encoded) > len(old) else whole.replace(old, encoded.ljust(len(old)))

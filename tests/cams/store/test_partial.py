"""Records of partial heatmap stores: bytes there and back, and damage."""

from __future__ import annotations

import time
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sdali.cams.store.partial import RECORD_HEADER, decode, encode

MAPS = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(MAPS)
def test_decoding_inverts_encoding(heatmap: np.ndarray) -> None:
    """decode(encode(m)) == m for any size, and from a memoryview as from bytes."""
    assert np.array_equal(decode(encode(heatmap)), heatmap)
    assert np.array_equal(decode(memoryview(encode(heatmap))), heatmap)


def test_encoding_is_of_values_not_of_memory_layout() -> None:
    """A transposed or strided map is written in row order."""
    heatmap = np.arange(60, dtype=np.uint8).reshape(6, 10)[::2, ::3].T
    assert np.array_equal(decode(encode(heatmap)), heatmap)


@given(MAPS, st.data())
def test_any_flipped_bit_is_noticed(heatmap: np.ndarray, data: st.DataObject) -> None:
    """One flipped bit anywhere, sizes included, is an error, never another map."""
    record = bytearray(encode(heatmap))
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match=r"checksum|cells"):
        decode(bytes(record))


def test_swapped_sides_are_noticed() -> None:
    """The checksum covers the sizes: a 2 x 6 record is no 6 x 2 one."""
    record = encode(np.zeros((2, 6), np.uint8))
    _, _, checksum = RECORD_HEADER.unpack_from(record)
    with pytest.raises(ValueError, match="checksum"):
        decode(RECORD_HEADER.pack(6, 2, checksum) + record[RECORD_HEADER.size :])


@pytest.mark.parametrize("length", [0, 3, 7, 8, 20])
def test_a_cut_record_says_so(length: int) -> None:
    """A record shorter than its header claims is named as such."""
    with pytest.raises(ValueError, match=r"cut short|cells where"):
        decode(encode(np.ones((4, 5), np.uint8))[:length])


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 3)), np.zeros(9, np.uint8), np.zeros((0, 3), np.uint8), np.zeros((1, 65536), np.uint8)]
)
def test_only_uint8_maps_are_encoded(bad: np.ndarray) -> None:
    """Floats, vectors, empty and oversized maps are refused, with what was given."""
    with pytest.raises(ValueError, match=r"uint8 \[h, w\], not " + str(bad.dtype)):
        encode(bad)


@pytest.mark.perf
def test_decoding_is_fast() -> None:
    """A 12 x 12 record decodes in well under 50 microseconds (about 2 where nothing else runs)."""
    record = encode(np.full((12, 12), 7, np.uint8))
    start = time.perf_counter()
    for _ in range(2000):
        decode(record)
    assert (time.perf_counter() - start) / 2000 < 50e-6


@given(st.one_of(st.binary(max_size=60), MAPS.map(encode)), st.booleans())
@example(bytes.fromhex("0000000100000000"), True)  # found by fuzzing: no cells, with a checksum that fits
def test_any_bytes_are_a_map_or_refused(record: bytes, is_sealed: bool) -> None:
    """Also where the checksum fits; a map is the one that encodes to the record."""
    if is_sealed and len(record) >= RECORD_HEADER.size:
        height, width, _ = RECORD_HEADER.unpack_from(record)
        checksum = zlib.crc32(record[RECORD_HEADER.size :], height << 16 | width)
        record = RECORD_HEADER.pack(height, width, checksum) + record[RECORD_HEADER.size :]
    try:
        heatmap = decode(record)
    except ValueError:
        return
    assert heatmap.size and encode(heatmap) == record

"""Records are where py-lmdb finds them, whatever the keys, and a damaged file gives "not found"."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdali.pipelines.store.lmdb_read import find


def store(path: Path, values: dict[int, bytes], order: list[int] | None = None) -> tuple[np.ndarray, bytes]:
    """The file as bytes, written by LMDB in that order, and the record of its database `maps`."""
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=2, map_size=1 << 28, lib_version=0) as environment:
        maps = environment.open_db(b"maps")
        with environment.begin(write=True) as transaction:
            for key in order or sorted(values):
                transaction.put(key.to_bytes(8, "big"), values[key], db=maps)
        with environment.begin() as transaction:
            database = transaction.get(b"maps")
    assert database is not None
    file = np.fromfile(path, np.uint8)
    file.flags.writeable = False
    return file, database


def found(file: np.ndarray, database: bytes, keys: list[int]) -> list[bytes | None]:
    begins, sizes = find(file, database, np.array(keys, np.int64))
    return [
        None if begin < 0 else file[begin : begin + size].tobytes() for begin, size in zip(begins, sizes, strict=True)
    ]


KEYS = st.integers(0, 300) | st.integers(0, 2**62) | st.builds(lambda n, k: n**k, st.integers(0, 90), st.integers(1, 9))


@settings(max_examples=60)
@given(st.dictionaries(KEYS, st.integers(0, 3000), max_size=300), st.lists(KEYS, max_size=30), st.randoms())
def test_any_keys_are_found(
    tmp_path_factory: pytest.TempPathFactory, sizes: dict, others: list, random: object
) -> None:
    """Dense or sparse keys, put in any order, with small values and large: all are found, and no other."""
    values = {key: bytes([key % 251]) * size for key, size in sizes.items()}
    order = list(values)
    random.shuffle(order)  # type: ignore[attr-defined]
    file, database = store(tmp_path_factory.mktemp("find") / "f.lmdb", values, order)
    assert found(file, database, [*values, *others]) == [values.get(key) for key in [*values, *others]]


@pytest.mark.parametrize("count", [1, 53, 54, 20_000])
def test_dense_keys_are_found(tmp_path: Path, count: int) -> None:
    """As a heatmap store has them: one page, two, three levels; in any order, and no key before or after."""
    values = {key: key.to_bytes(4, "big") * 14 for key in range(count)}
    file, database = store(tmp_path / "f.lmdb", values)
    keys = [*np.random.default_rng(0).permutation(count).tolist(), count, 2 * count, -1, -(2**63), 2**63 - 1]
    assert found(file, database, keys) == [values.get(key) for key in keys]


def test_damage_is_survived(tmp_path: Path) -> None:
    """Bytes changed anywhere after the meta pages, a thousand times, end in a record or in none, never beyond the file
    and never without end.
    """
    whole, database = store(tmp_path / "f.lmdb", {key: bytes(2500 if key % 50 == 0 else 40) for key in range(6000)})
    rng, keys = np.random.default_rng(0), np.arange(-1, 6001)
    heads = np.arange(8192, len(whole), 4096)
    for turn in range(1000):
        file = whole.copy()
        places = rng.integers(8192, len(file), 300)
        if turn % 2:  # page headers and offsets above all
            places = rng.choice(heads, 300) + rng.integers(8, 60, 300)
        file[places] = rng.integers(0, 256, 300)
        file.flags.writeable = False
        begins, sizes = find(file, database, keys)
        assert (begins[sizes > 0] >= 8192).all() and (begins + sizes <= len(file)).all()

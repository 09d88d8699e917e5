"""Single records are where LMDB finds them, whatever the keys; a damaged file gives a record within it, or none."""

from __future__ import annotations

from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdali.pipelines.store.lmdb_read import mapped_file

KEYS = st.binary(min_size=1, max_size=20) | st.integers(0, 400).map(lambda n: n.to_bytes(8, "big"))


def written(path: Path, values: dict[bytes, bytes]) -> Path:
    with lmdb.open(str(path), subdir=False, lock=False, max_dbs=2, map_size=1 << 28, lib_version=0) as environment:
        for name in (b"maps", b"other"):
            database = environment.open_db(name)
            with environment.begin(write=True) as transaction:
                for key, value in values.items():
                    transaction.put(key, value + name, db=database)
    return path


@settings(max_examples=40)
@given(st.dictionaries(KEYS, st.integers(0, 6000), max_size=200), st.lists(KEYS, max_size=30))
def test_any_keys_are_found(tmp_path_factory: pytest.TempPathFactory, sizes: dict, others: list) -> None:
    """Of any length, with small values and large, in two databases: all are found, and no other."""
    values = {key: bytes([len(key)]) * size for key, size in sizes.items()}
    opened = mapped_file(written(tmp_path_factory.mktemp("lookup") / "f.lmdb", values))
    for name in (b"maps", b"other"):
        for key in [*values, *others]:
            found = opened.get(name, key)
            assert (None if found is None else bytes(found)) == (values[key] + name if key in values else None)


def test_databases_that_are_none(tmp_path: Path) -> None:
    """A name that is not there, and the name of a plain record."""
    opened = mapped_file(written(tmp_path / "f.lmdb", {b"a": b"b"}))
    with (
        lmdb.open(str(tmp_path / "plain"), subdir=False, lock=False, lib_version=0) as environment,
        environment.begin(write=True) as transaction,
    ):
        transaction.put(b"maps", bytes(48))
    assert opened.get(b"nothing", b"a") is None
    assert mapped_file(tmp_path / "plain").get(b"maps", b"a") is None


def test_damage_is_survived(tmp_path: Path) -> None:
    """Bytes changed anywhere after the meta pages end in a record or in none, never in an exception or without end."""
    values = {n.to_bytes(8, "big"): bytes(2500 if n % 50 == 0 else 40) for n in range(3000)}
    whole = np.fromfile(written(tmp_path / "f.lmdb", values), np.uint8)
    rng, heads = np.random.default_rng(0), np.arange(8192, len(whole), 4096)
    outcomes = set()
    for turn in range(200):
        file = whole.copy()
        damaged = rng.integers(8192, len(file), 300)
        if turn % 2:
            damaged = rng.choice(heads, 300) + rng.integers(8, 60, 300)
        file[damaged] = rng.integers(0, 256, 300)
        file.tofile(tmp_path / f"{turn}.lmdb")
        opened = mapped_file(tmp_path / f"{turn}.lmdb")
        for n in range(0, 3000, 137):
            outcomes.add(opened.get(b"maps", n.to_bytes(8, "big")) is None)
        (tmp_path / f"{turn}.lmdb").unlink()
    assert outcomes == {True, False}

"""Headers of stores, from anybody: each is refused with a sentence, or is a header."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.store.format import FORMAT, columns_of
from sdali.pipelines.store.heatmap_codec import FORMAT as HEATMAPS
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.index import read_header
from sdali.pipelines.store.statistics import load

IMAGES = {
    **{"format": FORMAT, "schema": 1, "count": 3, "classes": ["a", "b"], "digest": "0", "ignore_index": None},
    "columns": columns_of(has_masks=True, has_boxes=True),
}
MAPS = {"format": HEATMAPS, "schema": 1, "count": 3, "images_digest": "0", "method": "cam", "digest": "1"}

anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


def changed(sound: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """The header with some values replaced and some left out, or no header at all."""
    values = st.dictionaries(st.sampled_from(sorted(sound)), anything, max_size=2)
    left_out = st.sets(st.sampled_from(sorted(sound)), max_size=1)
    headers = st.builds(
        lambda new, gone: {k: v for k, v in {**sound, **new}.items() if k not in gone}, values, left_out
    )
    documents = st.one_of(headers, anything).map(json.dumps).map(str.encode)
    return st.one_of(documents, st.binary(max_size=40))


class File:
    """A store file that holds a header and nothing else."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def database(self, name: bytes) -> bytes:
        return b""

    def get(self, key: bytes, database: bytes) -> memoryview:
        return memoryview(self._raw)


NESTED = b"[" * 100_000


@given(changed(IMAGES))
@example(json.dumps(IMAGES).encode())
@example(NESTED)
def test_a_header_of_images_is_refused_or_right(raw: bytes) -> None:
    try:
        header = read_header(File(raw), Path("s.lmdb"))  # type: ignore[arg-type]
    except InputError as error:
        assert str(error).startswith("s.lmdb ") and raw != json.dumps(IMAGES).encode()
        return
    assert header["count"] >= 1 and isinstance(header["digest"], str)
    assert all(isinstance(name, str) for name in header["classes"])
    assert {"labels", "sizes", "byte_sizes", "crc32"} <= set(header["columns"]) <= set(IMAGES["columns"])
    assert header.get("ignore_index") is None or 0 <= header["ignore_index"] <= 255


@given(changed(MAPS))
@example(json.dumps(MAPS).encode())
@example(NESTED)
def test_a_header_of_heatmaps_is_refused_or_right(raw: bytes) -> None:
    store = object.__new__(HeatmapStore)
    store.path, store._file = Path("c.lmdb"), File(raw)  # type: ignore[assignment]
    try:
        header = store._read_header()
    except InputError as error:
        assert str(error).startswith("c.lmdb ") and raw != json.dumps(MAPS).encode()
        return
    assert type(header["count"]) is int and header["count"] >= 1
    assert all(isinstance(header[name], str) for name in ("images_digest", "method", "digest"))


@pytest.mark.parametrize(
    "raw",
    [
        NESTED,
        b"[1]",
        b"5",
        b"\xff",
        b'{"digest": 1}',
        b'{"digest": "1"}',
        b'{"digest": "1", "mean": [1, 2, 1%s]}' % (b"0" * 400),
        b'{"digest": "1", "mean": 5}',
    ],
)
def test_statistics_that_are_none_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "s.lmdb.stats.json"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"stats\.json"):
        load(SimpleNamespace(path=tmp_path / "s.lmdb", digest="1"))  # type: ignore[arg-type]

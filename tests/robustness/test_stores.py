"""Damaged stores and a stranger's are refused or read right; what is found there cannot pass unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustness import stores
from robustness.store_damage import KINDS, damage
from robustness.stores import IMAGES, damaged_stores, images_content, make_stores

from sdali.pipelines import ImageStore, InputError
from sdali.pipelines.store import format as store_format
from sdali.pipelines.store.index import read_columns
from sdali.pipelines.store.lmdb_read import mapped_file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    make_stores(folder)
    return folder


def columns_of(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    header = ImageStore(path).header
    return header, read_columns(mapped_file(path), path, header)


def test_no_damage_does_harm() -> None:
    """Bits, heads, pages, truncation, lies, in both kinds of stores: no crash, hang, traceback, wrong content."""
    record = damaged_stores(200, seed=1)
    assert record["failures"] == []
    assert set(record["outcomes"]) == set(KINDS) and sum(sum(v.values()) for v in record["outcomes"].values()) == 200
    assert all(sum(found.values()) - found.get("unharmed", 0) > 10 for found in record["outcomes"].values())


def test_what_must_not_be_is_seen(folder: Path) -> None:
    """Another label without a word is wrong, of a lie not; any exception but InputError is an error."""
    original = images_content(folder / IMAGES)
    other = {**original, "name 3": "other"}
    assert stores._outcome(folder, lambda path: other, original, "bits") == ("wrong", "name 3")
    assert stores._outcome(folder, lambda path: other, original, "lie")[0] == "reported"
    assert stores._outcome(folder, lambda path: {"image 1": None}, original, "bits")[0] == "reported"
    assert stores._outcome(folder, lambda path: original, original, "bits")[0] == "unharmed"
    message = stores._outcome(folder, lambda path: {}["x"], original, "bits")
    assert message == ("error", "KeyError: 'x'")


def test_a_reader_that_dies_is_a_crash_and_the_next_file_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """The process is started again behind the file that killed it."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$4" = 0 ] && kill -SEGV $$\necho \'{"number": 1, "outcome": "refused"}\'\n')
    fake.chmod(0o755)
    monkeypatch.setattr(stores.sys, "executable", str(fake))
    found = list(stores._outcomes(tmp_path, 2, 0))
    assert [one["outcome"] for one in found] == ["crash", "refused"] and found[0]["message"] == "SIGSEGV"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("labels", -2),
        ("labels", 2),
        ("sizes", 0),
        ("sizes", -5),
        ("byte_sizes", -1),
        ("byte_sizes", 2**62),
        ("mask_byte_sizes", 2**40),
        ("box_counts", 768614336404564651),  # times 24 it wraps around to 8
        ("box_counts", -2),
        ("name_offsets", -1),
        ("name_offsets", 2**63 - 1),
    ],
)
def test_columns_that_lie_are_refused(folder: Path, tmp_path: Path, name: str, value: int) -> None:
    """Though the digest agrees with them: the column is named, before anything of those sizes is made."""
    header, columns = columns_of(folder / IMAGES)
    column = columns[name].copy()
    column[1] = value
    digest = store_format.digest({**columns, name: column}, header["classes"], header["ignore_index"])
    whole = (folder / IMAGES).read_bytes().replace(columns[name].tobytes(), column.tobytes())
    (tmp_path / "s.lmdb").write_bytes(whole.replace(header["digest"].encode(), digest.encode()))
    with pytest.raises(InputError, match=f"the column {'names' if name == 'name_offsets' else name} of .*s.lmdb"):
        ImageStore(tmp_path / "s.lmdb")


def test_damage_is_the_same_again_and_cuts_at_every_page(folder: Path) -> None:
    whole, (header, columns) = (folder / IMAGES).read_bytes(), columns_of(folder / IMAGES)
    pages = len(whole) // 4096
    cut = {len(damage(whole, header, columns, 2 + 5 * turn, 0)[1]) for turn in range(pages)}
    assert cut == {4096 * page for page in range(pages)}
    for number in range(20):
        first, again = (damage(whole, header, columns, number, 7) for _ in range(2))
        assert first == again

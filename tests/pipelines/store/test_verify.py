"""Full decoding by DALI: every damaged sample of a store is found and named, and the process survives all of them."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.dali import require_dali
from sdali.pipelines.io.progress import silent
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.verify import FullDecode, in_batches, verify_store
from sdali.pipelines.store.writer import StoreWriter

pytest.importorskip("nvidia.dali")


def _jpeg(seed: int, height: int = 40, width: int = 60) -> bytes:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def _store(path: Path, bad: dict[int, bytes], count: int = 60) -> ImageStore:
    with StoreWriter(path, classes=()) as writer:
        for i in range(count):
            writer.add(bad.get(i, _jpeg(i)), label=-1, height=40, width=60, name=f"{i}.jpg")
    return ImageStore(path)


def test_a_sound_store_has_no_bad_samples(tmp_path: Path) -> None:
    """Nothing is reported where nothing is wrong."""
    assert verify_store(_store(tmp_path / "s.lmdb", {}), workers=2, progress=silent) == []


def test_exactly_the_damaged_samples_are_found(tmp_path: Path) -> None:
    """Text, bare and cut JPEGs and wrong sizes, among 60, are named in order with their reasons."""
    bad = {0: b"text, no image" * 9, 17: b"\xff\xd8", 18: _jpeg(3)[:-2], 40: _jpeg(4, 41, 60), 59: b"\0"}
    found = verify_store(_store(tmp_path / "s.lmdb", bad), workers=2, progress=silent)
    assert [(sample.index, sample.name) for sample in found] == [(i, f"{i}.jpg") for i in bad]
    assert found[3].reason == "has 41 x 60 px, but is recorded with 40 x 60"
    assert [found[place].reason for place in (0, 1, 2, 4)] == [
        "is not an image",
        "is truncated: the JPEG ends within its header",
        "is truncated: the JPEG has no end marker",
        "is not an image",
    ]


def test_damage_after_the_build_is_found_by_crc(tmp_path: Path) -> None:
    """A flipped bit that DALI would decode silently is found; so is one in the columns."""
    store = _store(tmp_path / "s.lmdb", {})
    content = bytearray((tmp_path / "s.lmdb").read_bytes())
    content[content.index(_jpeg(33)) + 900] ^= 1
    (tmp_path / "t.lmdb").write_bytes(content)
    (found,) = verify_store(ImageStore(tmp_path / "t.lmdb"), workers=2, progress=silent)
    assert (found.index, found.name) == (33, "33.jpg") and found.reason.startswith("is damaged: the CRC32")
    content = bytearray((tmp_path / "s.lmdb").read_bytes())
    content[content.index(store.labels.tobytes())] = 0
    (tmp_path / "u.lmdb").write_bytes(content)
    with pytest.raises(InputError, match="do not match its digest"):
        verify_store(ImageStore(tmp_path / "u.lmdb"), progress=silent)


def test_records_that_kill_unguarded_pipelines_do_not(tmp_path: Path) -> None:
    """Hundreds of records without a header, in full batches, again and again: the process lives and names them all."""
    decoder = FullDecode(2)
    for round in range(5):
        images = [_jpeg(i) if i == round else b"text" * 50 for i in range(16)]
        reasons = decoder.reasons(images, [(40, 60)] * 16)
        assert [reason is None for reason in reasons] == [i == round for i in range(16)]


def test_batches_are_bounded_in_count_and_pixels() -> None:
    """At most 16 items and 50 million pixels a batch, unless one alone has more; nothing is lost."""
    sizes = [10] * 40 + [30_000_000] * 4 + [90_000_000] + [1]
    batches = list(in_batches((i, size) for i, size in enumerate(sizes)))
    assert [i for batch in batches for i in batch] == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) <= 16 and (len(batch) == 1 or sum(sizes[i] for i in batch) <= 50_000_000)


def test_a_missing_dali_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where DALI cannot be imported, the message says how to install it."""
    real = builtins.__import__

    def without_dali(name: str, *arguments: Any) -> Any:
        if name.startswith("nvidia.dali"):
            raise ImportError("No module named 'nvidia.dali'")
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without_dali)
    with pytest.raises(InputError, match=r"pip install 'sdali\[cuda13\]'.*or 'sdali\[cuda12\]'"):
        require_dali()

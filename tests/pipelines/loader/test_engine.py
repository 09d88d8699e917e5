"""Bad samples, abandoned iterations and forks: what happens to a pipeline that cannot simply go on."""

from __future__ import annotations

import gc
import os
import weakref
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from damage import BROKEN, flip_a_byte
from forks import ended_in_time
from loading import SIZE, by_position, make
from pictures import make_store

from sdali.pipelines import BadSampleError, ImageStore, InputError, classification


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 150)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("culprit", [0, 30, 63])
def test_a_damaged_record_in_a_batch_of_64_is_named(tmp_path: Path, kind: str, culprit: int) -> None:
    """What kills a plain DALI process raises an error that names sample, file and store, when its batch is due."""
    store = make_store(tmp_path / "s.lmdb", 128, bad={culprit + 64: BROKEN[kind]})
    loader = classification.test_loader(store, batch_size=64, crop="whole", size=SIZE, device="cpu", threads=2)
    received = []
    with pytest.raises(BadSampleError, match=rf"sample {culprit + 64} \({culprit + 64}\.jpg\) of .*s\.lmdb") as caught:
        for batch in loader:
            received.append(batch)
    assert len(received) == 1 and caught.value.index == culprit + 64


def test_a_flipped_byte_is_named_when_its_batch_is_due(tmp_path: Path) -> None:
    """The CRC is checked while prefetching, but batches before the damage are still served."""
    store = make_store(tmp_path / "s.lmdb", 40)
    flip_a_byte(store, 25)
    loader = classification.test_loader(store, batch_size=10, size=SIZE, device="cpu")
    received = 0
    with pytest.raises(BadSampleError, match=r"sample 25 \(25\.jpg\) .* CRC32"):
        for _ in loader:
            received += 1
    assert received == 2


def test_a_bad_heatmap_is_reported_when_its_batch_is_due(store) -> None:
    """As a bad record is: batches before it are served."""
    plan = [int(row["index"]) for batch in make(store, 10) for row in batch["plan"]]
    maps: list[np.ndarray] = [np.ones((4, 4), np.uint8) for _ in range(len(store))]
    maps[plan[35]] = np.ones((4, 4), int)
    loader, received = make(store, 10, heatmaps=maps), 0
    with pytest.raises(InputError, match=r"a heatmap is uint8 or float \[h, w\], that of sample \d+ is int64"):
        for _ in loader:
            received += 1
    assert received == 3


@pytest.mark.parametrize("damage", ["text", "flipped byte"])
def test_skip_replaces_the_bad_sample_alone(tmp_path: Path, damage: str) -> None:
    """All other positions keep their bytes; the replacement depends on the position, not on the batch size."""
    broken = make_store(tmp_path / "bad.lmdb", 60, bad={17: BROKEN["text"]} if damage == "text" else None)
    if damage == "flipped byte":
        flip_a_byte(broken, 17)
    epochs = []
    for batch_size in (10, 20):
        loader = make(broken, batch_size, on_error="skip", heatmaps=None)
        epochs.append(by_position(*loader))
        assert loader.skipped == [(17, "17.jpg")]
    assert epochs[0] == epochs[1] and len(epochs[0]) == 60
    sound = by_position(*make(make_store(tmp_path / "good.lmdb", 60), 10, heatmaps=None))
    differing = [position for position in sound if sound[position] != epochs[0][position]]
    assert len(differing) == 1


def _refused(loader, writer: int) -> NoReturn:
    """In a forked child: what the loader says there."""
    try:
        next(iter(loader))
        os.write(writer, b"it ran")
    except InputError as error:
        os.write(writer, str(error).encode())
    finally:
        os._exit(0)


@pytest.mark.slow
def test_a_forked_process_is_refused(store) -> None:
    """DALI hangs after a fork; here a sentence says so at once."""
    loader = make(store)
    next(iter(loader))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _refused(loader, writer)
    if ended_in_time(child) is None:  # Python's own bug: once more
        child = os.fork()
        if child == 0:
            _refused(loader, writer)
        assert ended_in_time(child) is not None
    assert b"forked process" in os.read(reader, 1000)


def test_dropped_loaders_are_freed_at_once(store) -> None:
    """Without the garbage collector, which in a forked child would tear down a DALI that has no threads there."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(2):
            loader = make(store)
            for _ in loader:
                break
            engine = weakref.ref(loader._engine)
            del loader
            assert engine() is None
    finally:
        gc.enable()

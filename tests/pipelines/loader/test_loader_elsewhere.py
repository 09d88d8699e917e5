"""Where loaders are used: two in a process, in a DataLoader's worker, after a fork, without a code cache."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forks import ended_in_time
from loading import by_position, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError

BATCH_SIZE = 10
HELPERS = Path(__file__).resolve().parents[2] / "helpers"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 60)


@pytest.fixture(scope="module")
def alone(store: ImageStore) -> dict[int, tuple[bytes, bytes, int]]:
    """An epoch of a loader that has the process to itself."""
    return by_position(*make(store, BATCH_SIZE))


def unchanged(batch: Any) -> Any:
    """torch's own collate function has no idea of plan rows."""
    return batch


class Made(torch.utils.data.IterableDataset):
    """Makes its loader where it is used."""

    def __init__(self, store: ImageStore) -> None:
        self.store = store

    def __iter__(self) -> Iterator[Any]:
        yield from make(self.store, BATCH_SIZE, threads=1)


class Inherited(torch.utils.data.IterableDataset):
    """Uses a loader that was made in the parent."""

    def __init__(self, store: ImageStore) -> None:
        self.loader = make(store, BATCH_SIZE, threads=1)
        next(iter(self.loader))

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.loader
        except InputError as error:
            yield str(error)


def test_two_loaders_at_once_do_not_meet(store, alone) -> None:
    """Batch by batch in turn, one of another size and seed: each as if it were alone; closing one leaves the other."""
    other = make(store, 6, seed=9)
    expected = by_position(*make(store, 6, seed=9))
    first, second, got, got_other = iter(make(store, BATCH_SIZE)), iter(other), {}, {}
    for _ in range(4):
        got |= by_position(next(first))
        got_other |= by_position(next(second))
    assert got_other.items() <= expected.items()
    other.close()
    got |= by_position(*first)
    assert got == alone


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the threads of DALI, which the child makes its own of
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_worker_may_make_its_own_loader(store, alone, context: str) -> None:
    """In torch's DataLoader, also forked while a loader runs in the parent: the same batches."""
    running = make(store, BATCH_SIZE)
    next(iter(running))
    workers = torch.utils.data.DataLoader(
        Made(store),
        batch_size=None,
        collate_fn=unchanged,
        num_workers=1,
        multiprocessing_context=context,
        timeout=120,
    )
    assert by_position(*workers) == alone


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_worker_may_not_use_an_inherited_loader(store) -> None:
    """Forked, it is refused with a sentence; spawned, it is refused before, where it would be sent."""
    dataset = Inherited(store)
    options: dict[str, Any] = {"batch_size": None, "num_workers": 1, "timeout": 120}
    forked = torch.utils.data.DataLoader(dataset, multiprocessing_context="fork", **options)
    assert list(forked) == ["a loader cannot be used in a forked process; make a new one there"]
    spawned = torch.utils.data.DataLoader(dataset, multiprocessing_context="spawn", **options)
    with pytest.raises(InputError, match="a loader cannot be sent to another process; make one there"):
        next(iter(spawned))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["close", "drop", "collect"])
def test_a_forked_child_may_end_with_an_inherited_loader(store, what: str) -> None:
    """Closed or dropped there, or collected as a cycle, it neither hangs nor harms the parent's."""
    script = [sys.executable, "-W", "ignore::DeprecationWarning", __file__, str(store.path), what]
    environment = {**os.environ, "PYTHONPATH": f"{HELPERS}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, ["child", "0", "parent", "5"]), ended.stderr


def in_child(path: str, what: str) -> None:
    """What the test runs: fork with a loader in mid-epoch, then go on here."""
    loader = make(ImageStore(path), BATCH_SIZE)
    batches = iter(loader)
    next(batches)
    child = os.fork()
    while child and (status := ended_in_time(child)) is None:
        child = os.fork()
    if child == 0:
        signal.alarm(30)
        if what == "close":
            loader.close()
        elif what == "drop":
            del loader, batches
        else:
            cycle: list[Any] = [loader, batches]
            cycle.append(cycle)
            del loader, batches, cycle
            gc.collect()
        print("child", flush=True)
        os._exit(0)  # as multiprocessing does; what DALI itself does at the end of an interpreter hangs after a fork
    print(status, "parent", len(list(batches)))


SCRIPT = f"""
import sys
sys.path.insert(0, sys.argv[2])
from loading import by_position, make
from sdali.pipelines import ImageStore
batches = by_position(*make(ImageStore(sys.argv[1]), {BATCH_SIZE}))
import hashlib
print(hashlib.sha256(repr(sorted(batches.items())).encode()).hexdigest())
"""


@pytest.mark.slow
def test_without_a_folder_for_compiled_code(store, alone, tmp_path: Path) -> None:
    """Neither a cache folder nor a home that can be written: compiled anew, the same pixels, not a word."""
    (tmp_path / "file").touch()
    nowhere = str(tmp_path / "file" / "cache")
    environment = {**os.environ, "NUMBA_CACHE_DIR": nowhere, "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(store.path), str(HELPERS)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    assert ended.stdout.split() == [hashlib.sha256(repr(sorted(alone.items())).encode()).hexdigest()]


if __name__ == "__main__":
    in_child(*sys.argv[1:])

"""Loaders whose batches are made on a Ray cluster, one of this machine alone, against the local loader's."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from loading import by_position, make
from pictures import make_store
from serving import ray_processes, wait_until

from sdali.benchmarks.throughput.process_tree import descendants
from sdali.cli.main import main
from sdali.pipelines import BadSampleError, ImageStore, InputError, classification
from sdali.pipelines.remote import worker as remote_work
from sdali.pipelines.remote.cluster import NAMESPACE
from sdali.pipelines.remote.loader import RemoteLoader

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'sdali[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of Ray

COUNT = 70
HERE = str(Path(serving.__file__).parent)


def workers_now() -> set[int]:
    """The actors that there are."""
    return {pid for pid, name in ray_processes().items() if "PoolWorker" in name}


class Cluster:
    """A Ray cluster of this machine, started by this process and ended with it."""

    def __init__(self) -> None:
        ray.init(
            "local",
            num_cpus=4,
            object_store_memory=200_000_000,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
        self.address: str = ray.get_runtime_context().gcs_address


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_DEDUP_LOGS", "0")
        patch.setenv("OMP_NUM_THREADS", "1")
        # Workers need the heatmaps' class, and this sdali, not another that may be installed.
        patch.setenv("PYTHONPATH", os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]))
        before = set(descendants(os.getpid()))
        started = Cluster()
        ours = set(descendants(os.getpid())) - before
        try:
            yield started
        finally:
            ray.shutdown()
            for pid in ours & set(descendants(os.getpid())):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("remote") / "s.lmdb", COUNT)


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[subprocess.Popen[str]]:
    """`sdali serve` in a process of its own, with two workers."""
    flags = ["serve", "--name", "tests", "--actors", "2", "--address", cluster.address]
    command = [sys.executable, "-m", "sdali.cli", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as served:
        try:
            assert served.stderr is not None
            said = next((line for line in served.stderr if "pool tests of 2 workers" in line), None)
            assert said is not None, "sdali serve has ended"
            yield served
        finally:
            served.kill()


def test_a_dead_cluster_is_a_sentence_within_seconds(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody there, something that is no address, or a cluster of another Ray. First, before this process is on one."""
    assert not ray.is_initialized()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    begun = time.monotonic()
    with pytest.raises(InputError, match=f"no Ray cluster answers at {address} .*; start one with ray start --head"):
        RemoteLoader(make(store, 4), address=address)
    assert main(["serve", "--address", address]) == 2 and f"answers at {address}" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setenv("RAY_ADDRESS", address)
        for wanted in (None, "auto"):
            with pytest.raises(InputError, match=f"answers at {address} "):
                RemoteLoader(make(store, 4), address=wanted)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(address)  # as `ray start` leaves it, killed
    with pytest.raises(InputError, match=f"answers at {address} "):
        RemoteLoader(make(store, 4), address="auto")
    with pytest.raises(InputError, match="a Ray address is HOST:PORT, auto or local, got 'ray://head:10001'"):
        RemoteLoader(make(store, 4), address="ray://head:10001")

    def another_version(*_: object, **__: object) -> None:
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 1.0.0")

    monkeypatch.setattr(ray, "init", another_version)
    with pytest.raises(InputError, match=r"cannot join the Ray cluster .*: Version mismatch: .* Ray: 1.0.0"):
        RemoteLoader(make(store, 4), address="local")
    assert time.monotonic() - begun < 10


@pytest.mark.slow
def test_epochs_are_the_local_loaders_also_when_a_worker_is_killed(cluster: Cluster, store: ImageStore) -> None:
    """Two epochs of a loader's own two actors, in order, byte for byte; in the second one actor dies by SIGKILL."""
    local, loader = make(store, 4), RemoteLoader(make(store, 4), actors=2)
    assert len(loader) == len(local) == COUNT // 4
    undisturbed = list(loader)
    assert by_position(*undisturbed) == by_position(*local)
    workers, batches = workers_now(), []
    assert len(workers) == 2
    for batch in loader:
        if not batches:
            os.kill(min(workers), signal.SIGKILL)
        batches.append(batch)
    assert not workers <= workers_now()
    assert [int(batch["plan"]["position"][0]) for batch in batches] == list(range(0, COUNT - 3, 4))
    assert by_position(*batches) == by_position(*local)
    assert loader.epoch == 2 and loader.counters.samples == 2 * len(loader) * 4
    loader.close()
    wait_until(lambda: not workers_now())


def test_a_client_that_is_killed_leaves_no_workers(cluster: Cluster, store: ImageStore) -> None:
    """SIGKILL, so that nothing of ours can clean up: Ray ends the actors of a process that has gone."""
    command = [sys.executable, serving.__file__, str(store.path), cluster.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None and "served" in client.stdout.read(len("served"))
        assert len(workers_now()) == 1
        client.kill()
    wait_until(lambda: not workers_now())


@pytest.mark.slow
def test_a_restored_state_goes_on_where_it_was(pool: object, store: ImageStore) -> None:
    """In mid-epoch, from the local loader's state to a remote one and back, on another batch size; then a `break`."""
    local, loader = make(store, 8), RemoteLoader(make(store, 4), pool="tests")
    whole = by_position(*make(store, 2))
    for batch in local:
        if batch["plan"]["position"][0] == 16:
            break
    loader.load_state_dict(json.loads(json.dumps(local.state_dict())))
    rest = next(iter(loader))
    assert by_position(rest) == {position: whole[position] for position in range(24, 28)}
    local.load_state_dict(loader.state_dict())
    assert next(iter(local))["plan"]["position"][0] == 28
    loader.set_epoch(0)
    for _ in loader:
        break
    assert by_position(*loader) == by_position(*_epoch(make(store, 4), 1))


def test_trainers_share_a_pool(pool: object, store: ImageStore) -> None:
    """Ranks of one job in turns: together they serve what they serve locally, short batches included."""
    options = {"size": 24, "device": "cpu", "colour_on": "device", "world_size": 2, "batch_size": 20}
    local = [classification.test_loader(store, **options, rank=rank) for rank in (0, 1)]
    loaders = [RemoteLoader(classification.test_loader(store, **options, rank=rank), pool="tests") for rank in (0, 1)]
    got, want = list(zip(*loaders, strict=True)), list(zip(*local, strict=True))
    assert [[len(batch["index"]) for batch in step] for step in got] == [[20, 20], [15, 15]]
    assert by_position(*sum(got, ())) == by_position(*sum(want, ())) and len(by_position(*sum(got, ()))) == COUNT
    assert got[0][0]["image"].dtype == want[0][0]["image"].dtype and (got[0][0]["colour"] == want[0][0]["colour"]).all()


def test_a_pool_survives_its_workers(pool: object, store: ImageStore) -> None:
    """One is killed in mid-epoch; Ray starts it again, and order and pixels stay."""
    loader, batches = RemoteLoader(make(store, 2), pool="tests"), []
    workers = workers_now()
    for batch in loader:
        if not batches:
            os.kill(min(workers), signal.SIGKILL)
        batches.append(batch)
    assert by_position(*batches) == by_position(*make(store, 2))
    assert [int(batch["plan"]["position"][0]) for batch in batches] == list(range(0, COUNT, 2))


def test_bad_samples_are_as_locally(pool: object, tmp_path: Path) -> None:
    """Raised by name when their batch is due, or replaced by the same samples and listed."""
    bad = make_store(tmp_path / "bad.lmdb", 40, bad={7: b"no picture", 23: b"neither"})
    local = make(bad, 4, on_error="skip", max_bad_share=0.1)
    loader = RemoteLoader(make(bad, 4, on_error="skip", max_bad_share=0.1), pool="tests")
    assert by_position(*loader) == by_position(*local)
    assert sorted(loader.skipped) == sorted(local.skipped) == [(7, "7.jpg"), (23, "23.jpg")]
    with pytest.raises(BadSampleError, match=r"sample (7|23) "):
        list(RemoteLoader(make(bad, 4), pool="tests"))


def test_another_store_under_the_same_path_is_refused(pool: object, tmp_path: Path) -> None:
    path = tmp_path / "s.lmdb"
    loader = RemoteLoader(make(make_store(path, 30), 4), pool="tests")
    path.unlink()
    make_store(path, 31)
    with pytest.raises(InputError, match=r"s.lmdb on \S+ is another store .* than the client's .*; copy the client's"):
        next(iter(loader))


def test_other_versions_are_refused(pool: object, store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_work, "versions_here", lambda: (("python", "3.10"), ("sdali", "0.0.9")))
    loader = RemoteLoader(make(store, 4), pool="tests")
    with pytest.raises(InputError, match=r"the worker on \S+ has .*, the client .*; install the same on both"):
        next(iter(loader))


def test_what_no_cluster_can_do_is_refused_at_once(cluster: Cluster, store: ImageStore) -> None:
    with pytest.raises(InputError, match="99 actors of 1 CPUs need 99, the Ray cluster has 4"):
        RemoteLoader(make(store, 4), actors=99)
    with pytest.raises(InputError, match="no pool called nobody runs on this Ray cluster; start it with sdali serve"):
        next(iter(RemoteLoader(make(store, 4), pool="nobody")))


@pytest.mark.slow
def test_the_pool_ends_with_serve(cluster: Cluster, pool: subprocess.Popen[str], store: ImageStore) -> None:
    """A trainer in mid-epoch gets a sentence within seconds, and no worker stays. The last of the pool's tests."""
    loader = RemoteLoader(make(store, 1), pool="tests")
    batches = iter(loader)
    next(batches)
    pool.send_signal(signal.SIGTERM)
    assert pool.wait(20) == 128 + signal.SIGTERM
    with pytest.raises(InputError, match="the workers on the Ray cluster have ended"):
        list(batches)
    wait_until(lambda: not workers_now())
    assert not [actor for actor in ray.util.list_named_actors(True) if actor["namespace"] == NAMESPACE]


def _epoch(loader: classification.Loader, epoch: int) -> classification.Loader:
    loader.set_epoch(epoch)
    return loader

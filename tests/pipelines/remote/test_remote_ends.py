"""How reading from a Ray cluster ends in mid-epoch: with the script, quietly, or with the cluster, in a sentence."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import serving
from pictures import make_store
from serving import ray_processes, wait_until

from sdali.benchmarks.throughput.process_tree import descendants

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sdali[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of Ray

GONE = r"no Ray cluster answers at \S+ \(.*\); start one with ray start --head"
SECONDS = 40  # until all have ended; beside other work, on a machine that has two cores
RAYS_SECONDS = 25  # after which a cluster's other processes give it up; Ray's own are 60
_PATIENCE = "RAY_gcs_rpc_server_reconnect_timeout_s"


class Mortal:
    """A cluster of this machine that this process is not connected to."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster  # type: ignore[import-not-found]

        os.environ[_PATIENCE] = str(RAYS_SECONDS)  # of these processes, not of those that connect to them
        options = {"num_cpus": 4, "object_store_memory": 100_000_000, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=options)
        del os.environ[_PATIENCE]
        self.address = str(self._cluster.address)

    def close(self) -> None:
        self._cluster.shutdown()

    def die(self) -> None:
        """By SIGKILL of the process that knows of all others."""
        head = self._cluster.head_node
        assert head is not None
        head.kill_gcs_server()


@pytest.fixture(scope="module")
def mortal() -> Iterator[Mortal]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("OMP_NUM_THREADS", "1")
        helpers = str(Path(serving.__file__).parent)
        patch.setenv("PYTHONPATH", os.pathsep.join([helpers, os.environ.get("PYTHONPATH", "")]))
        before = set(descendants(os.getpid()))
        cluster = Mortal()
        try:
            yield cluster
        finally:
            cluster.close()
            for pid in set(descendants(os.getpid())) - before:
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_store(tmp_path_factory.mktemp("ends") / "s.lmdb", 70).path)


def started(*command: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *command], text=True, stdin=pipe, stdout=pipe, stderr=pipe)


LOOK = """
import sys
from loading import make
from sdali.pipelines import ImageStore
from sdali.pipelines.remote.loader import RemoteLoader
loader = RemoteLoader(make(ImageStore(sys.argv[1]), 4), actors=1, address=sys.argv[2])
print(len(next(iter(loader))["image"]))
"""


@pytest.mark.slow
def test_a_script_may_end_in_mid_epoch(mortal: Mortal, store: str) -> None:
    """After a look at the first batch, without close(): status 0, and no traceback of Ray's, which ends before it."""
    script = started("-c", LOOK, store, mortal.address)
    said, errors = script.communicate(timeout=100)
    assert script.returncode == 0 and said.startswith("4\n") and "Traceback" not in errors, errors
    wait_until(lambda: not any("PoolWorker" in name for name in ray_processes().values()))


def test_a_cluster_that_dies_in_mid_epoch_ends_trainers_and_pool_with_a_sentence(mortal: Mortal, store: str) -> None:
    """`sdali serve` with status 2, trainers on workers of their own and on the pool's by an InputError. None stays."""
    served = started("-m", "sdali.cli", "serve", "--name", "m", "--actors", "1", "--address", mortal.address)
    assert served.stderr is not None and any("pool m of 1 workers" in line for line in served.stderr)
    own, shared = (started(serving.__file__, store, mortal.address, *pool) for pool in ([], ["m"]))
    for trainer in (own, shared):
        assert trainer.stdin is not None and trainer.stdout is not None and "served" in trainer.stdout.read(6)
        trainer.stdin.write("go on\n")
        trainer.stdin.flush()
    workers = set(ray_processes())
    mortal.die()
    begun = time.monotonic()
    assert [process.wait(SECONDS) for process in (own, shared, served)] == [1, 1, 2]
    assert time.monotonic() - begun < SECONDS
    for trainer in (own, shared):
        assert trainer.stderr is not None
        assert re.search(f"InputError: {GONE}$", trainer.stderr.read().strip())
    assert re.search(GONE, served.stderr.read())
    wait_until(lambda: not workers & set(ray_processes()), 2 * RAYS_SECONDS)

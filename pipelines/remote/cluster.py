"""Ray's side of remote loaders: joining a cluster, starting actors there, and getting their batches in order.

A loader has actors of its own, or those of `sdali serve`, which have a name and which several trainers share. When an
actor dies, Ray starts it again and repeats its task; the same rows make the same pixels, so nothing is lost. Ray is
imported only when it is used.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from itertools import cycle, islice
from typing import Any

from ..errors import InputError
from .worker import LoaderSpec, RemoteBatch, Result, Step, Worker

logger = logging.getLogger("sdali")
CHUNK = 4  # batches in a task; within a task DALI works ahead (our choice)
MOST_ACTORS = 4096
NAMESPACE = "sdali"
_REACH_SECONDS = 3.0
_RETRIES = 3  # of a task whose worker died; without a limit, a task that kills its worker would be repeated for ever
_WARM = 4  # loaders whose graphs an actor keeps
_WARN_SECONDS = 30  # without a batch


def require_ray() -> Any:
    """The module `ray`; raises InputError where it is not installed."""
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError as error:
        raise InputError(f"Ray is missing ({error}): install it with pip install 'sdali[ray]'") from None
    return ray


def join(address: str | None) -> None:
    """Connect this process to a Ray cluster, unless it is connected already.

    address: HOST:PORT; "auto", that of RAY_ADDRESS or else of this machine; "local", a new one; None, as "auto", but a
    new one where there is none. Raises InputError for a cluster that does not answer or has another version.
    """
    ray = require_ray()
    if ray.is_initialized():
        check_alive()
        return
    address = _reachable(address)
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"cannot join the Ray cluster {address}: {reason}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_sigterm)  # ray.init has put a handler there that aborts the process


def check_alive() -> None:
    """Raise InputError where the cluster of this process no longer answers, after disconnecting from it.

    If it stayed connected, Ray would hold up the exception for a minute and then end the process.
    """
    ray = require_ray()
    if not ray.is_initialized():
        raise InputError("Ray was shut down in this process; make the loader again")
    try:
        _reach(ray.get_runtime_context().gcs_address)
    except InputError:
        ray.shutdown()
        raise


def check_room(actors: int, cpus: int) -> None:
    """Raise InputError where the whole cluster has fewer CPUs than so many actors need."""
    have = int(require_ray().cluster_resources().get("CPU", 0))
    if have < actors * cpus:
        raise InputError(
            f"{actors} actors of {cpus} CPUs need {actors * cpus}, the Ray cluster has {have}; ask for fewer"
        )


class PoolWorker:
    """An actor: keeps the graphs of the last few loaders that it has worked for."""

    def __init__(self) -> None:
        self._workers: dict[LoaderSpec, Worker] = {}

    def results(self, spec: LoaderSpec, rank: int, steps: Sequence[Step]) -> list[Result]:
        """The results of one task; an error is one of them, so that it arrives in its turn and as one sentence."""
        try:
            worker = self._workers.pop(spec, None) or Worker(spec)
        except InputError as error:
            return [error]
        self._workers[spec] = worker  # at the end, as the one used last
        if len(self._workers) > _WARM:
            self._workers.pop(next(iter(self._workers))).close()
        return list(worker.results(rank, steps))


def start_actors(actors: int, cpus: int, pool: str | None = None) -> list[Any]:
    """Start actors, those of a named pool or nameless ones; they end with their last handle, or with this process.

    Raises InputError where the name is taken, and as check_room does.
    """
    ray = require_ray()
    if pool is not None and _pool(pool):
        raise InputError(f"a pool called {pool} runs on this Ray cluster already; give another --name, or use it")
    check_room(actors, cpus)
    kind = ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=_RETRIES)(PoolWorker)
    if pool is None:
        return [kind.remote() for _ in range(actors)]
    return [kind.options(name=f"{pool}/{number}", namespace=NAMESPACE).remote() for number in range(actors)]


def actors_of(pool: str) -> list[Any]:
    """The actors of a pool that `sdali serve` has started."""
    names = _pool(pool)
    if not names:
        raise InputError(f"no pool called {pool} runs on this Ray cluster; start it with sdali serve --name {pool}")
    return [require_ray().get_actor(full_name, NAMESPACE) for full_name in names]


def batches(
    actors: Sequence[Any], spec: LoaderSpec, rank: int, steps: Iterator[Step]
) -> Iterator[tuple[RemoteBatch, bool]]:
    """The rank's batches of these steps, in order, and whether each was here when it was asked for.

    The actors take tasks in turn, with two ahead for each. Raises InputError where a worker cannot make
    a batch, where the actors have ended, and where the cluster has gone.
    """
    ray = require_ray()
    shared, tasks, turns = ray.put(spec), deque(), cycle(actors)
    coming, checked = None, time.monotonic()
    while True:
        while len(tasks) < 2 * len(actors) - 1:
            tasks.append(next(turns).results.remote(shared, rank, list(islice(steps, CHUNK))))
        # A future has Ray bring the results here in the background, so one task is brought while another is used.
        due, coming = coming, tasks.popleft().future()
        if due is None:
            continue
        ready = due.done()
        for result in _awaited(due):
            if isinstance(result, InputError):
                raise result
            # Also while batches come, because Ray ends a process that stays connected to a dead cluster.
            if time.monotonic() - checked >= 1:
                check_alive()
                checked = time.monotonic()
            yield result, ready
            ready = True


def _awaited(due: Future[list[Result]]) -> list[Result]:
    """The results of a task; looks every second whether the cluster is still there."""
    seconds = 0
    while not wait([due], timeout=1).done:
        check_alive()
        seconds += 1
        if seconds % _WARN_SECONDS == 0:
            logger.warning("no batch from the Ray cluster for %d s; ray status says what it waits for", seconds)
    try:
        return due.result()
    except require_ray().exceptions.RayActorError as error:  # they have died for good, or could not start
        check_alive()  # a dead cluster takes its actors along, and is then the better reason
        last = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"the workers on the Ray cluster have ended ({last}); start them again, go on from the state"
        ) from None


def _pool(name: str) -> list[str]:
    """The full names, POOL/NUMBER, of a pool's actors."""
    named = require_ray().util.list_named_actors(all_namespaces=True)
    full_names = [actor["name"] for actor in named if actor["namespace"] == NAMESPACE]
    return sorted(full_name for full_name in full_names if full_name.rpartition("/")[0] == name)


def _reachable(address: str | None) -> str:
    """HOST:PORT of a cluster that answers, or "local". Ray itself would try to reach a dead one for minutes."""
    if address not in (None, "auto"):
        if address != "local":
            _reach(address)
        return address
    find = require_ray()._private.services.get_ray_address_from_environment
    try:
        noted = find(address, None) or "local"
    except ConnectionError:
        raise InputError("no Ray cluster runs on this machine; start one with ray start --head") from None
    if noted != "local":
        try:
            _reach(noted)
        except InputError:
            if address is None and not os.environ.get("RAY_ADDRESS"):
                return "local"  # an earlier `ray start` on this machine left a note of a cluster that has ended
            raise
    return noted


def _reach(address: str) -> None:
    """Raise InputError unless something answers there."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise InputError(f"a Ray address is HOST:PORT, auto or local, got {address!r}")
    try:
        socket.create_connection((host, int(port)), _REACH_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); start one with ray start --head"
        ) from None

"""Ray's side of remote loaders: joining a cluster, and two ways to get the batches of a list of steps, in order.

    from_data   Ray Data: range of steps -> map_batches over actors that end with the stream -> iter_batches
    from_pool   the named actors of `sdali serve`, which keep their graphs and which several trainers share

When a worker dies, Ray starts it again and repeats its task; the same rows make the same pixels, so nothing is lost.
Ray is imported only when it is used.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from .worker import LoaderSpec, RemoteBatch, Result, StepList, Worker

CHUNK = 4  # batches in a task; within a task DALI works ahead (our choice)
MOST_ACTORS = 4096
NAMESPACE = "sdali"
_REACH_SECONDS = 3.0


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


def from_data(spec: LoaderSpec, steps: StepList, actors: int, cpus: int) -> Iterator[Result]:
    """The batches of these steps, made by `actors` actors of Ray Data, which end with the iterator."""
    ray = require_ray()
    data = ray.data.DataContext.get_current().copy()
    data.execution_options.preserve_order = True
    data.target_max_block_size = 1  # byte: a batch is sent when it is made, not when there are 128 MB of them
    data.enable_progress_bars = data.print_on_execution_start = False
    with ray.data.DataContext.current(data):
        rows = ray.data.range(len(steps), override_num_blocks=-(-len(steps) // CHUNK)).map_batches(
            _DataWorker,
            fn_constructor_args=[spec, steps],
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=cpus,
        )
        batches = iter(rows.iter_batches(batch_size=1, prefetch_batches=2, batch_format="numpy"))
    for batch in batches:
        head = pickle.loads(batch["head"][0])
        if isinstance(head, InputError):
            yield head
            return
        plan, skipped = head
        yield RemoteBatch(plan, [batch[f"output {k}"][0] for k in range(len(batch) - 1)], skipped)


class _DataWorker:
    """A Worker in the form that Ray Data takes: numbers of steps -> rows of a table, one for each batch."""

    def __init__(self, spec: LoaderSpec, steps: StepList) -> None:
        self._worker, self._steps = Worker(spec), steps

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for result in self._worker.results(self._steps, batch["id"].tolist()):
            if isinstance(result, InputError):
                yield {"head": np.array([pickle.dumps(result)], object)}
                return
            outputs = {f"output {k}": array[None] for k, array in enumerate(result.arrays)}
            yield {"head": np.array([pickle.dumps((result.rows, result.skipped))], object), **outputs}


_WARM = 4  # loaders whose graphs an actor of a pool keeps
_RETRIES = 3  # of a task whose worker died; without a limit, a task that kills its worker would be repeated for ever


class PoolWorker:
    """An actor of `sdali serve`: keeps the graphs of the last few loaders that it has worked for."""

    def __init__(self) -> None:
        self._workers: dict[LoaderSpec, Worker] = {}

    def results(self, spec: LoaderSpec, steps: StepList, begin: int) -> list[Result]:
        """The results of one task: CHUNK steps, from number `begin` on."""
        worker = self._workers.pop(spec, None) or Worker(spec)
        self._workers[spec] = worker  # at the end, as the one used last
        if len(self._workers) > _WARM:
            self._workers.pop(next(iter(self._workers))).close()
        return list(worker.results(steps, range(begin, min(begin + CHUNK, len(steps)))))


def start_pool(name: str, actors: int, cpus: int) -> list[Any]:
    """Start the named actors of a pool, which end with this process. Raises InputError where the name is taken."""
    ray = require_ray()
    if _pool(name):
        raise InputError(f"a pool called {name} runs on this Ray cluster already; give another --name, or use it")
    check_room(actors, cpus)
    kind = ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=_RETRIES)(PoolWorker)
    return [kind.options(name=f"{name}/{number}", namespace=NAMESPACE).remote() for number in range(actors)]


def from_pool(spec: LoaderSpec, steps: StepList, name: str) -> Iterator[Result]:
    """The batches of these steps, made by the actors of a pool in turn, each with two tasks ahead."""
    ray = require_ray()
    names = _pool(name)
    if not names:
        raise InputError(f"no pool called {name} runs on this Ray cluster; start it with sdali serve --name {name}")
    actors = [ray.get_actor(full_name, NAMESPACE) for full_name in names]
    shared, tasks = ray.put(spec), deque()
    for turn, begin in enumerate(range(0, len(steps), CHUNK)):
        tasks.append(actors[turn % len(actors)].results.remote(shared, steps, begin))
        if len(tasks) == 2 * len(actors):
            yield from ray.get(tasks.popleft())
    while tasks:
        yield from ray.get(tasks.popleft())


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

"""Ray's side of remote loaders: a cluster to be joined, and two ways to have an agenda answered there, in order.

    from_data   Ray Data: range of batches -> map_batches over an actor pool of the stream's own -> iter_batches
    from_pool   the named actors of `sdali serve`, whose graphs stay warm and which several trainers share

Ray starts a worker that died again and gives it its work again; the same rows make the same pixels, so nothing is lost,
and both ways keep the order. Ray is imported only when used.
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
from .worker import Agenda, Answer, Made, Work, Worker

CHUNK = 4  # batches a task: within one, DALI runs ahead (our choice)
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
    """Connect this process to a cluster: HOST:PORT, "auto" (RAY_ADDRESS, else this machine's), "local" (a new one).

    None: as "auto", and a new one where there is none. Nothing where it is connected already. Raises InputError where
    there is none, one of another version, or one that has gone.
    """
    ray = require_ray()
    if ray.is_initialized():
        check_alive()
        return
    address = _answering(address)
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        said = " ".join(str(error).split())
        raise InputError(f"cannot join the Ray cluster {address}: {said}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, at_sigterm)  # Ray puts one of its own there, that aborts


def check_alive() -> None:
    """Raise InputError where the cluster that this process is connected to has gone, and then disconnect from it.

    Ray, left connected, holds up an exception on its way out of the program for a minute, and then ends the process.
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
    """Raise InputError where the cluster, however idle, has not the CPUs for so many actors."""
    have = int(require_ray().cluster_resources().get("CPU", 0))
    if have < actors * cpus:
        raise InputError(
            f"{actors} actors of {cpus} CPUs need {actors * cpus}, the Ray cluster has {have}; ask for fewer"
        )


def from_data(work: Work, agenda: Agenda, actors: int, cpus: int) -> Iterator[Answer]:
    """Answered by `actors` actors of Ray Data, that end with the iterator."""
    ray = require_ray()
    data = ray.data.DataContext.get_current().copy()
    data.execution_options.preserve_order = True
    data.target_max_block_size = 1  # so that a batch goes out when it is made, not when 128 MB are
    data.enable_progress_bars = data.print_on_execution_start = False
    with ray.data.DataContext.current(data):
        rows = ray.data.range(len(agenda), override_num_blocks=-(-len(agenda) // CHUNK)).map_batches(
            _DataWorker,
            fn_constructor_args=[work, agenda],
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
        yield Made(plan, [batch[f"output {k}"][0] for k in range(len(batch) - 1)], skipped)


class _DataWorker:
    """A Worker as Ray Data wants it: places in the agenda -> rows of a table, one a batch."""

    def __init__(self, work: Work, agenda: Agenda) -> None:
        self._worker, self._agenda = Worker(work), agenda

    def __call__(self, batch: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        for answer in self._worker.answers(self._agenda, batch["id"].tolist()):
            if isinstance(answer, InputError):
                yield {"head": np.array([pickle.dumps(answer)], object)}
                return
            outputs = {f"output {k}": array[None] for k, array in enumerate(answer.arrays)}
            yield {"head": np.array([pickle.dumps((answer.rows, answer.skipped))], object), **outputs}


_WARM = 4  # works whose graphs a pool's actor keeps
_RETRIES = 3  # of a task whose worker died: without a limit, one that kills its worker would go on for ever


class PoolWorker:
    """An actor of `sdali serve`: keeps the graphs of the last few works that it was given."""

    def __init__(self) -> None:
        self._workers: dict[Work, Worker] = {}

    def answers(self, work: Work, agenda: Agenda, begin: int) -> list[Answer]:
        """Those of one task, from that place in the agenda on."""
        worker = self._workers.pop(work, None) or Worker(work)
        self._workers[work] = worker  # the last used stands last
        if len(self._workers) > _WARM:
            self._workers.pop(next(iter(self._workers))).close()
        return list(worker.answers(agenda, range(begin, min(begin + CHUNK, len(agenda)))))


def start_pool(name: str, actors: int, cpus: int) -> list[Any]:
    """Named actors, that end with this process. Raises InputError where the name is taken."""
    ray = require_ray()
    if _pool(name):
        raise InputError(f"a pool called {name} runs on this Ray cluster already; give another --name, or use it")
    check_room(actors, cpus)
    kind = ray.remote(num_cpus=cpus, max_restarts=-1, max_task_retries=_RETRIES)(PoolWorker)
    return [kind.options(name=f"{name}/{number}", namespace=NAMESPACE).remote() for number in range(actors)]


def from_pool(work: Work, agenda: Agenda, name: str) -> Iterator[Answer]:
    """Answered by the actors of a pool in turn, two tasks ahead for each."""
    ray = require_ray()
    names = _pool(name)
    if not names:
        raise InputError(f"no pool called {name} runs on this Ray cluster; start it with sdali serve --name {name}")
    actors = [ray.get_actor(own, NAMESPACE) for own in names]
    shared, asked = ray.put(work), deque()
    for turn, begin in enumerate(range(0, len(agenda), CHUNK)):
        asked.append(actors[turn % len(actors)].answers.remote(shared, agenda, begin))
        if len(asked) == 2 * len(actors):
            yield from ray.get(asked.popleft())
    while asked:
        yield from ray.get(asked.popleft())


def _pool(name: str) -> list[str]:
    """Full names of a pool's actors."""
    named = require_ray().util.list_named_actors(all_namespaces=True)
    own = [actor["name"] for actor in named if actor["namespace"] == NAMESPACE]
    return sorted(full for full in own if full.rpartition("/")[0] == name)


def _answering(address: str | None) -> str:
    """HOST:PORT of a cluster that answers, or "local"; Ray itself would look for a dead one for minutes."""
    if address not in (None, "auto"):
        if address != "local":
            _reach(address)
        return address
    find = require_ray()._private.services.get_ray_address_from_environment
    try:
        found = find(address, None) or "local"
    except ConnectionError:
        raise InputError("no Ray cluster runs on this machine; start one with ray start --head") from None
    if found != "local":
        try:
            _reach(found)
        except InputError:
            if address is None and not os.environ.get("RAY_ADDRESS"):
                return "local"  # what ray start wrote down here has gone
            raise
    return found


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

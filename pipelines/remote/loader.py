"""A loader whose batches are made on the machines of a Ray cluster: the same batches, by any number of workers.

    loader = RemoteLoader(classification.train_loader("pets.lmdb", ..., colour_on="device", device="cpu"), actors=8)

It keeps what the local loader promises, because it is that loader with its graph on other machines. One stream of
batches goes on over the ends of epochs, so that workers stay; after a `break`, or when a state is loaded, a new stream
begins.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np
import torch

from ..config import MOST_THREADS
from ..errors import InputError
from ..io.bounds import whole_number
from ..loader.counters import Waiting
from ..loader.loader import Loader
from .cluster import CHUNK, MOST_ACTORS, check_alive, check_room, from_data, from_pool, join, require_ray
from .worker import Result, Step, StepList, spec_of

logger = logging.getLogger("sdali")
_TASKS = 1000  # a stream is planned to have at least as many; with more it would start slowly
_AHEAD = 2  # batches that wait on this machine
_END_SECONDS = 5.0
_WARN_SECONDS = 30  # without a batch


class RemoteLoader(Loader):
    """Takes over a loader made with device="cpu", which must not be used any more. See Loader.

    The store, and heatmaps given as a path, must lie at the same path on every machine.

    Args:
        loader: the loader whose batches are to be made elsewhere.
        actors: the number of workers, which belong to this loader alone.
        cpus: CPUs that Ray reserves for each worker, and DALI's threads there.
        pool: the name of workers that `sdali serve --name POOL` has started, to be used in place of new ones.
        address: the cluster: HOST:PORT, or "auto" (that of RAY_ADDRESS, else of this machine). None: as "auto", or a
            new cluster of this machine's CPUs where there is none. A process stays on the first cluster that it joins.

    Raises:
        InputError: where there is no such cluster or pool; with the first batch, where a worker's store or versions are
            not those of this machine; with any batch, where the cluster has gone.
    """

    def __init__(
        self, loader: Loader, *, actors: int = 2, cpus: int = 1, pool: str | None = None, address: str | None = None
    ) -> None:
        whole_number("actors", actors, MOST_ACTORS)
        whole_number("cpus", cpus, MOST_THREADS)
        vars(self).update(vars(loader))  # settings, share and cursor: all that a loader is
        if self._graph.cuda is not None:  # type: ignore[attr-defined]
            raise InputError("workers decode on CPUs: make the loader with device='cpu', and bring batches to the GPU")
        self._engine.close()
        self._waiting = Waiting()
        require_ray()
        max_bad_share = self._settings.max_bad_share if self._settings.on_error == "skip" else None
        self._spec = spec_of(self.store, self._share, self._graph, threads=cpus, max_bad_share=max_bad_share)
        self._actors, self._cpus, self._pool = actors, cpus, pool
        join(address)
        if pool is None:
            check_room(actors, cpus)
        self._stream: _Stream | None = None
        self._due: Step | None = None  # the step whose batch the stream hands over next

    def close(self) -> None:
        """Stop the workers, except those of a pool; Ray goes on."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._due = None

    def _served(self, epoch: int, position: int) -> Iterator[tuple[np.ndarray, list[torch.Tensor], bool]]:
        steps = self._share.steps(position)
        if steps and self._due != (epoch, position):
            self.close()
            self._stream = self._started(epoch, steps)
        for step in steps:
            assert self._stream is not None
            result, ready = self._stream.next()
            if isinstance(result, InputError):
                self.close()
                raise result
            assert self._share.step_of(result.rows) == step
            self._replacements.merge(result.skipped)
            last = step == steps[-1]
            self._due = (epoch + 1, 0) if last else (epoch, step + steps.step)
            if last and self._stream.left == 0:
                self.close()
            yield result.rows, [torch.from_numpy(array) for array in result.arrays], ready

    def _started(self, epoch: int, steps: range) -> _Stream:
        whole = self._share.steps()
        missing = _TASKS * CHUNK - len(steps)
        wanted = StepList(self._share.rank, epoch, steps, whole, max(0, missing // len(whole)))
        if self._pool is None:
            results = from_data(self._spec, wanted, self._actors, self._cpus)
        else:
            results = from_pool(self._spec, wanted, self._pool)
        stream = _Stream(results, len(wanted))
        weakref.finalize(self, stream.close).atexit = False
        atexit.register(stream.close)  # registered after Ray's handler, so it runs before that one, while Ray is there
        return stream


class _Stream:
    """Pulls results in a thread, so that the trainer's thread can check the cluster while it waits.

    Attributes: `left`, the number of results still to come.
    """

    def __init__(self, results: Iterator[Result], left: int) -> None:
        self.left = left
        self._queue: queue.Queue[Result | BaseException] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._checked = time.monotonic()
        self._thread = threading.Thread(target=_pull, args=(results, self._queue, self._closed.is_set), daemon=True)
        self._thread.start()

    def next(self) -> tuple[Result, bool]:
        """The next result, an InputError where the cluster has gone, and whether it was there when asked for."""
        ready = not self._queue.empty()
        try:
            result = self._awaited()
        except InputError as error:
            self._closed.set()
            result = error
        if isinstance(result, BaseException) and not isinstance(result, InputError):
            raise result
        self.left -= 1
        return result, ready

    def _awaited(self) -> Result | BaseException:
        seconds = 0
        while True:
            self._check_cluster()
            with suppress(queue.Empty):
                return self._queue.get(timeout=1)
            seconds += 1
            if seconds % _WARN_SECONDS == 0:
                logger.warning("no batch from the Ray cluster for %d s; ray status says what it waits for", seconds)

    def _check_cluster(self) -> None:
        """Each second, also while batches come, because Ray ends a process that stays connected to a dead cluster."""
        if time.monotonic() - self._checked >= 1:
            check_alive()
            self._checked = time.monotonic()

    def close(self) -> None:
        """Drop the results to come, which ends their workers, and wait for the thread, which must not outlive Ray.

        Where the cluster has gone there is no waiting, as the thread may never end.
        """
        atexit.unregister(self.close)
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread is not threading.current_thread():  # the garbage collector may call this in any thread
            self._thread.join(_END_SECONDS)


def _pull(results: Iterator[Result], into: queue.Queue[Result | BaseException], closed: Callable[[], bool]) -> None:
    """Move results into the queue, with pixels copied out of Ray's memory, which is read-only and scarce."""
    try:
        for result in results:
            if not isinstance(result, InputError):
                result = result._replace(arrays=[array.copy() for array in result.arrays])
            if not _put(result, into, closed):
                break
    except BaseException as error:
        _put(_as_input_error(error), into, closed)
    finally:
        results.close()  # type: ignore[attr-defined]  # a generator


def _put(result: Result | BaseException, into: queue.Queue[Result | BaseException], closed: Callable[[], bool]) -> bool:
    """Wait for room in the queue; False once the stream is closed."""
    while not closed():
        try:
            into.put(result, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _as_input_error(error: BaseException) -> BaseException:
    """One sentence where Ray's actors have died for good, or could not start; other errors as they are."""
    if isinstance(error, require_ray().exceptions.RayActorError):
        last = str(error).strip().splitlines()[-1].strip()
        return InputError(f"the workers on the Ray cluster have ended ({last}); start them again, go on from the state")
    return error

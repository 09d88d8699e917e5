"""A loader whose batches are made on the machines of a Ray cluster: the same batches, by any number of workers.

    loader = RemoteLoader(classification.train_loader("pets.lmdb", ..., colour_on="device", device="cpu"), actors=8)

The contract is the local loader's, because it is one: only where the graph runs is another. A stream of batches goes on
over the ends of epochs, so that workers stay; a `break`, or another state, begins a new one.
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

from ..errors import InputError
from ..io.bounds import whole_number
from ..loader.counters import Waiting
from ..loader.loader import Loader
from .cluster import CHUNK, check_alive, check_room, from_data, from_pool, join, require_ray
from .worker import Agenda, Answer, work_of

logger = logging.getLogger("sdali")
_TASKS = 1000  # of a stream at least, unless its epoch ends sooner and none follows; more make its start slow
_AHEAD = 2  # batches ready on this machine
_END_SECONDS = 5.0
_PATIENCE = 30  # seconds without a word


class RemoteLoader(Loader):
    """Takes over a loader made with device="cpu"; do not use that one afterwards. See Loader.

    actors: workers of this loader's own, of `cpus` CPUs and DALI threads each. pool: instead those that `sdali serve
    --name POOL` has started, which keep their graphs. address: the cluster, HOST:PORT or "auto" (RAY_ADDRESS, else this
    machine's); None: so too, else a new cluster of this machine's CPUs; a process stays on its first one. The store,
    and heatmaps given as a path, must lie at the same path on every machine, or be shared. Raises InputError where
    there is no such cluster or pool; with the first batch where a worker's store or versions are not those of this
    machine; with any where the cluster has gone, and then this process is connected to none.
    """

    def __init__(
        self, loader: Loader, *, actors: int = 2, cpus: int = 1, pool: str | None = None, address: str | None = None
    ) -> None:
        whole_number("actors", actors)
        whole_number("cpus", cpus)
        vars(self).update(vars(loader))  # options, share and place in the epoch: all that a loader is
        if self._graph.cuda is not None:  # type: ignore[attr-defined]
            raise InputError("workers decode on CPUs: make the loader with device='cpu', and bring batches to the GPU")
        self._engine.close()
        self._waiting = Waiting()
        skip = self._on_error == "skip"
        require_ray()
        self._work = work_of(
            self.store, self._share, self._graph, threads=cpus, skip=skip, max_bad_share=self._replacements.share
        )
        self._actors, self._cpus, self._pool = actors, cpus, pool
        join(address)
        if pool is None:
            check_room(actors, cpus)
        self._stream: _Stream | None = None
        self._due: tuple[int, int] | None = None  # what the stream hands over next: epoch, and a step's first position

    def close(self) -> None:
        """Stop the workers, but for a pool's; Ray itself stays."""
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
            answer, ready = self._stream.next()
            if isinstance(answer, InputError):
                self.close()
                raise answer
            assert self._share.step_of(answer.rows) == step
            self._replacements.merge(answer.skipped)
            last = step == steps[-1]
            self._due = (epoch + 1, 0) if last else (epoch, step + steps.step)
            if last and self._stream.left == 0:
                self.close()
            yield answer.rows, [torch.from_numpy(array) for array in answer.arrays], ready

    def _started(self, epoch: int, steps: range) -> _Stream:
        whole = self._share.steps()
        missing = _TASKS * CHUNK - len(steps)
        agenda = Agenda(self._share.rank, epoch, steps, whole, max(0, missing // len(whole)))
        if self._pool is None:
            answers = from_data(self._work, agenda, self._actors, self._cpus)
        else:
            answers = from_pool(self._work, agenda, self._pool)
        stream = _Stream(answers, len(agenda))
        weakref.finalize(self, stream.close).atexit = False
        atexit.register(stream.close)  # after Ray's own was: so this one comes first, while Ray is there
        return stream


class _Stream:
    """Answers pulled in a thread, so that the trainer's can look after the cluster while it waits.

    Attributes: `left`, answers still to come.
    """

    def __init__(self, answers: Iterator[Answer], left: int) -> None:
        self.left = left
        self._queue: queue.Queue[Answer | BaseException] = queue.Queue(_AHEAD)
        self._closed = threading.Event()
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=_pull, args=(answers, self._queue, self._closed.is_set), daemon=True)
        self._thread.start()

    def next(self) -> tuple[Answer, bool]:
        """The next answer, and whether it was there already; the answer is an InputError where the cluster has gone."""
        ready = not self._queue.empty()
        try:
            answer = self._awaited()
        except InputError as error:
            self._closed.set()
            answer = error
        if isinstance(answer, BaseException) and not isinstance(answer, InputError):
            raise answer
        self.left -= 1
        return answer, ready

    def _awaited(self) -> Answer | BaseException:
        seconds = 0
        while True:
            self._look()
            with suppress(queue.Empty):
                return self._queue.get(timeout=1)
            seconds += 1
            if seconds % _PATIENCE == 0:
                logger.warning("no batch from the Ray cluster for %d s; ray status says what it waits for", seconds)

    def _look(self) -> None:
        """After the cluster, each second, also while batches come: Ray ends a process whose cluster has gone."""
        if time.monotonic() - self._looked >= 1:
            check_alive()
            self._looked = time.monotonic()

    def close(self) -> None:
        """Let go of the answers to come, which ends their workers; waits for the thread, which must not outlive Ray.

        Not where the cluster has gone: there the thread may wait for ever.
        """
        atexit.unregister(self.close)
        if self._closed.is_set():
            return
        self._closed.set()
        if self._thread is not threading.current_thread():  # the garbage collector may run in any
            self._thread.join(_END_SECONDS)


def _pull(answers: Iterator[Answer], into: queue.Queue[Answer | BaseException], closed: Callable[[], bool]) -> None:
    """Move answers into the queue, pixels copied out of Ray's memory, which is read-only and scarce."""
    try:
        for answer in answers:
            if not isinstance(answer, InputError):
                answer = answer._replace(arrays=[array.copy() for array in answer.arrays])
            if not _put(answer, into, closed):
                break
    except BaseException as error:
        _put(_as_input_error(error), into, closed)
    finally:
        answers.close()  # type: ignore[attr-defined]  # a generator


def _put(answer: Answer | BaseException, into: queue.Queue[Answer | BaseException], closed: Callable[[], bool]) -> bool:
    while not closed():
        try:
            into.put(answer, timeout=0.2)
            return True
        except queue.Full:
            continue
    return False


def _as_input_error(error: BaseException) -> BaseException:
    """One sentence where Ray's actors are gone for good, or could not begin."""
    if isinstance(error, require_ray().exceptions.RayActorError):
        last = str(error).strip().splitlines()[-1].strip()
        return InputError(f"the workers on the Ray cluster have ended ({last}); start them again, go on from the state")
    return error

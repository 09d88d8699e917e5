"""Drives a DALI pipeline over a stream of plan rows: prefetches, hands batches over in order, survives bad samples.

DALI pulls batches through a callback, several ahead of the one that it returns, and does not say which one that is.
So the rows that have been fed and not yet received wait in a queue: batches come out in the order in which they went
in, and the first of the queue is the one received.

A failure is reported when its batch is due, never earlier, although DALI meets it while it prefetches. It leaves the
pipeline unusable; the rest of the queue is fed again to a new one, which gives the same pixels because the rows decide
everything.
"""

from __future__ import annotations

import ctypes
import os
import re
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadSampleError, InputError
from ..images.header import fault
from ..images.quiet_png import without_remarks
from ..plan.planner import first_views
from ..store.reader import ImageStore
from .rank_share import StepRows

if TYPE_CHECKING:  # imports DALI
    from ..graph.nodes import Graph


Replace = Callable[[StepRows, BadSampleError, np.ndarray], StepRows]
"""Rows of a batch, what is wrong, and which of the rows are bad (int64 [n]) -> rows to be used in place of them."""


class Engine:
    """One pipeline, rebuilt only after a failure; `run` may be called again and again, one run at a time.

    Attributes: `blocked_seconds`, how long the last batch was waited for, without the time to feed a later one.
    """

    def __init__(self, store: ImageStore, graph: Graph, batch_size: int) -> None:
        self._store, self._graph, self._batch_size = store, graph, batch_size
        self._pipeline: Any = None
        self._batches: Iterator[StepRows] = iter(())
        self._pending: deque[tuple[StepRows, Any]] = deque()  # rows and their buffers, or the error of feeding them
        self._runs = 0
        self.blocked_seconds = self._feeding_seconds = 0.0
        self._pid = os.getpid()
        _engines.add(self)

    def run(self, batches: Iterator[StepRows], replace: Replace | None = None) -> Iterator[tuple[StepRows, Any]]:
        """For each batch of rows, in order: the rows and the DALI outputs (a tensor list each).

        `replace` makes other rows for a batch with a bad sample; without it BadSampleError names the sample.
        """
        if os.getpid() != self._pid:
            raise InputError("a loader cannot be used in a forked process; make a new one there")
        self._drain()
        self._runs += 1
        this_run, self._batches = self._runs, batches
        try:
            while True:
                received = self._receive(replace)
                if received is None:
                    return
                yield received
        finally:
            # A newer run has its own batches by now, which the end of this generator must not take away.
            if self._runs == this_run:
                self._batches = iter(())  # an iteration left with `break` plans no more, and keeps nothing alive
                if self._pipeline is None:  # else DALI may still read the buffers, which _drain waits for
                    self._pending.clear()

    def _receive(self, replace: Replace | None) -> tuple[StepRows, Any] | None:
        """The next batch, None at the end."""
        while True:
            begun, self._feeding_seconds = time.perf_counter(), 0.0
            try:
                outputs = self._built().run()
            except StopIteration:
                self._pipeline.reset()
                if not self._pending:
                    return None
                planned, error = self._pending[0]  # all earlier batches are out; this one could not be fed
                bad = None
                if isinstance(error, BadSampleError):  # all rows of the sample are bad, since it cannot be read
                    bad = np.flatnonzero(first_views(planned.rows)["index"] == error.index)
            except RuntimeError as failure:  # DALI could not decode a sample of the batch that is due
                planned = self._pending[0][0]
                bad, error = self._culprit(planned.rows, failure) or (None, failure)
            else:
                # run() has fed a later batch besides; that time is planning, and says nothing about DALI's pace.
                self.blocked_seconds = time.perf_counter() - begun - self._feeding_seconds
                # The buffers go with the row: popped any sooner, DALI would read freed memory (no_copy).
                planned, _ = self._pending.popleft()
                return planned, outputs
            self._pipeline = None  # after an error DALI calls it invalid; _built makes a new one
            if replace is None or bad is None or not isinstance(error, BadSampleError):
                raise error from None
            # The old pipeline took the pending batches along, so they are fed again, or positions would be left out.
            waiting = [replace(planned, error, bad), *(later for later, _ in list(self._pending)[1:])]
            self._pending.clear()
            self._batches = chain(waiting, self._batches)

    def _source(self) -> Any:
        """DALI's callback for the next batch. What cannot be read ends the feeding, and is reported when it is due.

        An exception raised here would reach the trainer at once, several batches early; StopIteration lets DALI finish
        the batches that it has, and the error waits at the end of the queue.
        """
        # Each run() asks again; another batch behind the bad one would be handed out in its place.
        if self._pending and isinstance(self._pending[-1][1], InputError):
            raise StopIteration
        begun, planned = time.perf_counter(), StepRows(0, np.zeros(0))  # no rows yet: planning may be what fails
        try:
            planned = next(self._batches)
            buffers = self._feed(planned.rows)
        except InputError as error:  # a record is bad, or a heatmap that the plan needs
            self._pending.append((planned, error))
            raise StopIteration from None
        self._pending.append((planned, buffers))
        self._feeding_seconds += time.perf_counter() - begun
        return buffers

    def _feed(self, rows: np.ndarray) -> Any:
        """The buffers that the graph makes of a batch, after a check that its images have the sizes of the store.

        Without the check a window that leaves its image may kill the process in DALI 2.4, and DALI allocates as much
        memory as a file's header claims.
        """
        indices = first_views(rows)["index"]
        records = self._graph.read(self._store, indices)  # images, perhaps others behind them
        sizes = self._store.sizes[indices].tolist()
        for index, record, (height, width) in zip(indices.tolist(), records, sizes, strict=False):
            why = fault(record, (height, width), self._store.max_pixels)
            if why is not None:
                raise self._undecodable(index, why)
        return self._graph.feed([without_remarks(record) for record in records], rows)

    def _culprit(self, rows: np.ndarray, failure: RuntimeError) -> tuple[np.ndarray, BadSampleError] | None:
        """The first row of the batch that fails alone, int64 [1], and its error; DALI does not name the sample.

        Only that row is bad, and not all rows of the sample: its window may be the reason. Raises InputError where
        memory is too short, for which no sample is to blame, since their headers have been checked.
        """
        _check_memory(failure)
        # A pipeline of its own, for the main one is invalid now; batches of one, for only they tell whose the error is.
        singles = (self._feed(one) for one in np.split(rows, len(rows)))
        pipeline = self._graph.pipeline(lambda: next(singles), 1)
        for row, index in enumerate(first_views(rows)["index"].tolist()):
            try:
                pipeline.run()
            except RuntimeError as alone:
                _check_memory(alone)
                return np.array([row]), self._undecodable(index, _reason(alone))
        return None

    def _undecodable(self, index: int, why: str) -> BadSampleError:
        """What is wrong with a sample; DALI does not say whether it was the image or, in scene parsing, the mask."""
        what = "cannot be decoded"
        if self._store.ignore_index is not None:
            try:
                self._store.mask(index)
            except BadSampleError as error:
                return error
            what = "or its mask cannot be decoded"
        reason = f"{what} ({why}); repair or remove it and build the store again"
        return BadSampleError(reason, index=index, name=self._store.names[index], store=self._store.path)

    def _built(self) -> Any:
        if self._pipeline is None:
            # The pipeline holds the engine weakly, so that a loader that is dropped is freed at once, in this process.
            # A cycle would be left to the garbage collector, which may run in a forked child: DALI's threads do not
            # exist there, and freeing the pipeline hangs or kills it.
            source = weakref.WeakMethod(self._source)
            self._pipeline = self._graph.pipeline(lambda: source()(), self._batch_size)  # type: ignore[misc]
        return self._pipeline

    def _drain(self) -> None:
        """Throw away the batches that DALI has made ahead, so that the next run starts clean.

        It is needed even where there are none: a run that was left with its last batch has not seen StopIteration, and
        the pipeline has not been reset.
        """
        self._batches = iter(())
        if self._pipeline is not None:
            try:
                while True:
                    self._pipeline.run()
            except StopIteration:
                self._pipeline.reset()
            except RuntimeError:  # a bad sample of a batch that nobody will ask for
                self._pipeline = None
        self._pending.clear()  # only now: DALI reads the buffers until it has made the batches

    def close(self) -> None:
        """Stop the pipeline and free its buffers; in a forked process, only forget those of the parent."""
        self._runs += 1  # the end of a running iteration leaves alone what comes after it
        if os.getpid() == self._pid:  # in a child DALI's threads do not exist, and run() would wait for them for ever
            self._drain()
        self._pipeline = None


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    """In the child: freeing an inherited pipeline would wait for threads that do not exist there.

    With a reference too many nothing frees it, not even the end of the process.
    """
    for engine in _engines:
        if engine._pipeline is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(engine._pipeline))


os.register_at_fork(after_in_child=_after_fork)


def _check_memory(failure: RuntimeError) -> None:
    if any(words in str(failure) for words in ("bad_alloc", "out of memory")):
        raise InputError("there is not enough memory for a batch; give a smaller batch size or size") from None


def _reason(failure: RuntimeError) -> str:
    """The sentence within DALI's many lines; it names no sample, and often says no more than that decoding failed."""
    text = re.sub(r"\[/[^]]*\]", "", str(failure).rpartition("encountered:")[2])  # without paths of DALI's sources
    line = next((line.strip(" .:") for line in text.splitlines() if line.strip()), "")
    return "its pixels are damaged" if not line or line.startswith("Failed to decode") else line

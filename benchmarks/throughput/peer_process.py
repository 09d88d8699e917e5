"""A peer in a separate process, so that its CPU time, memory and libraries can be told from ours.

It is opened once, then told how many images to serve, as often as the harness likes. It may be missing (its package is
not installed) or fail; either is a sentence in the record, not the end of the benchmark.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from . import process_tree

Stream = Callable[[], Iterator[int]]
"""Starts one pass over the images and yields how many each batch held."""

_PATIENCE = 60.0  # seconds without any CPU time, after which a peer that has not answered is given up


@dataclass(frozen=True)
class Peer:
    """What serves images, and what of the recipe it lacks."""

    stream: Stream
    lacks: str
    lead: int = 0
    """Where the stream has no end and is gone on with: batches of each turn before the clocks start, see steady."""


class Pass(NamedTuple):
    """What serving some images took, in seconds."""

    images: int
    wall: float
    cpu: float


class PeerFailed(Exception):
    """The peer cannot be measured, and why."""


class PeerProcess:
    """Runs `make()` (a picklable function) in a new process and measures what it makes."""

    def __init__(self, make: Callable[[], Peer]) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make))
        resource_tracker.ensure_running()  # starting it would unblock what the next line blocks
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: this process ends it
        self._process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        theirs.close()
        self.peak_memory = 0
        try:
            self.lacks: str = self._answer("opened")
        except BaseException:
            self.close()
            raise

    def serve(self, images: int, *, watch_memory: bool = False) -> Pass:
        """At least `images` images, in whole passes; with watch_memory `peak_memory` (bytes) follows.

        Raises PeerFailed.
        """
        with suppress(BrokenPipeError):  # the process has died; its answer has the reason
            self._connection.send(images)
        return self._answer("served", watch_memory=watch_memory)

    def close(self) -> None:
        """End the process and its children."""
        self._connection.close()
        self._process.join(1)
        self._kill()

    def _kill(self) -> None:
        if self._process.pid is not None and self._process.is_alive():
            process_tree.kill(self._process.pid)
        self._process.join()

    def _answer(self, expected: str, *, watch_memory: bool = False) -> Any:
        assert self._process.pid is not None
        used, since = -1.0, time.monotonic()
        while not self._connection.poll(0.1):
            if watch_memory:
                self.peak_memory = max(self.peak_memory, process_tree.memory(self._process.pid))
            now = process_tree.cpu_seconds_of(self._process.pid)
            if now != used:
                used, since = now, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                self._kill()
                raise PeerFailed(f"stood still for {_PATIENCE:.0f} s; is there space in the temporary folder?")
        try:
            kind, value = self._connection.recv()
        except EOFError:
            self._process.join(5)
            raise PeerFailed(f"its process died (exit status {self._process.exitcode})") from None
        if kind != expected:
            raise PeerFailed(value)
        return value


def _serve(connection: Connection, make: Callable[[], Peer]) -> None:
    """The process: open the peer, then serve until the connection closes."""
    multiprocessing.set_start_method(None, force=True)  # the platform's own for its workers, not our "spawn"
    os.dup2(2, 1)  # stdout belongs to the JSON
    try:
        peer = make()
        connection.send(("opened", peer.lacks))
        while True:
            images = connection.recv()
            taken = steady(peer.stream, images, peer.lead) if peer.lead else serve(peer.stream, images)
            connection.send(("served", taken))
    except (EOFError, BrokenPipeError):  # the parent has gone, or has closed this peer
        return
    except ImportError as error:
        _fail(connection, f"not installed ({_sentence(error)})")
    except Exception as error:  # whatever a library may raise
        _fail(connection, f"{type(error).__name__}: {_sentence(error)}")


def _fail(connection: Connection, why: str) -> None:
    with suppress(BrokenPipeError):
        connection.send(("failed", why))


def _sentence(error: Exception) -> str:
    """One line; of an error that quotes another process's traceback, that one's last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    shown = lines[-1:] if "Traceback" in str(error) else lines
    return " ".join(shown)[:300]


def serve(stream: Stream, images: int) -> Pass:
    """Whole passes until `images` have been seen.

    A pipeline works ahead: some of the first images are ready when a pass begins, and after the last one it fills its
    queues again. So the clocks stop when it has come to rest, and what was done for these images is what is counted.
    """
    begun, cpu, count = time.perf_counter(), process_tree.cpu_seconds(), 0
    while count < images:
        before = count
        for batch in stream():
            count += batch
        if count == before:
            raise RuntimeError("it delivered no images")
    at_rest, used = _settled()
    return Pass(count, at_rest - begun, used - cpu)


def steady(stream: Stream, images: int, lead: int) -> Pass:
    """The images of a stream without an end, once `lead` batches have used up what it had ready.

    It is not waited for: as many batches as are under way at the end were so at the beginning, and daemons never rest.
    """
    batches = stream()
    for _ in range(lead):
        next(batches)
    begun, cpu, count = time.perf_counter(), process_tree.cpu_seconds(), 0
    while count < images:
        count += next(batches)
    return Pass(count, time.perf_counter() - begun, process_tree.cpu_seconds() - cpu)


def _settled() -> tuple[float, float]:
    """Wait, 10 s at most, until this process tree is idle; when it became so, and its CPU seconds so far."""
    at_rest, used = time.perf_counter(), process_tree.cpu_seconds()
    idle_since = at_rest
    while (now := time.perf_counter()) - idle_since < 0.15 and now - at_rest < 10:
        time.sleep(0.05)
        before, used = used, process_tree.cpu_seconds()
        if used - before > 0.005:  # looking costs some, too
            idle_since = time.perf_counter()
    return idle_since, used

"""What a machine needs to make batches of a loader elsewhere, and the worker that makes them there.

    Agenda   which batches, in order: the rest of an epoch, and epochs after it
    Work     store by path and digest, graph, share: pickled, some KB and the labels; the same for all ranks
    Worker   items (epoch, first position of a step) -> plan rows and pixels, by the engine that a local loader has

Nothing here knows Ray, but for its way to pickle. A worker opens the store on its own machine, at the same path, and
refuses another content, and other versions of what decides the pixels.
"""

from __future__ import annotations

import dataclasses
import pickle
import platform
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..loader.bad_samples import Replacements
from ..loader.engine import Engine
from ..loader.rank_share import Share
from ..store.reader import ImageStore
from ..store.subset import Subset

_DECIDING = ("sdali", "numpy", "nvidia-dali-cuda130", "nvidia-dali-cuda120")

Item = tuple[int, int]
"""An epoch, and the first position of a step in it."""


class Agenda(NamedTuple):
    """The items of a rank in the order in which they are due."""

    rank: int
    epoch: int
    rest: range
    """Steps of that epoch."""
    whole: range
    """Steps of each later one."""
    more: int
    """Later epochs."""

    def __len__(self) -> int:
        return len(self.rest) + self.more * len(self.whole)

    def items(self, places: Iterable[int]) -> list[Item]:
        """Those at the places given."""
        found = []
        for place in places:
            later, at = divmod(place - len(self.rest), len(self.whole) or 1)
            found.append((self.epoch, self.rest[place]) if later < 0 else (self.epoch + 1 + later, self.whole[at]))
        return found


class Made(NamedTuple):
    """A batch as it travels."""

    rows: np.ndarray
    """Its plan rows, see plan.PLAN."""

    arrays: list[np.ndarray]
    """What the graph made of them."""

    skipped: list[tuple[int, str]]
    """Index and name of the bad samples that this worker has replaced so far."""


Answer = Made | InputError
"""What was asked for, or why there is none: sent as a value, so that it comes in its turn and as one sentence."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A loader in a form that travels, its rank left out."""

    store: Path
    digest: str
    indices: bytes | None
    """Of its samples, int64, where the loader's store is a subset of them."""
    versions: tuple[tuple[str, str], ...]
    """Of this machine, see versions_here."""
    batch_size: int
    skip: bool
    """Bad samples are replaced."""
    max_bad_share: float
    parts: bytes
    """Share and graph, pickled: they open store and heatmaps, so they wait until the store has been checked."""


def versions_here() -> tuple[tuple[str, str], ...]:
    """Python and what else decides the pixels: name and version of each."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _DECIDING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # of the two DALI wheels there is one
            continue
    return tuple(found.items())


def work_of(store: ImageStore, share: Share, graph: Any, *, threads: int, skip: bool, max_bad_share: float) -> Work:
    """The work of a loader on other machines, on as many DALI threads in each worker.

    Raises InputError where heatmaps or an order of the user's own cannot be pickled.
    """
    from ray import cloudpickle  # type: ignore[import-not-found]  # pickles closures too, which orders are made of

    try:
        parts = cloudpickle.dumps((dataclasses.replace(share, rank=0), dataclasses.replace(graph, threads=threads)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(f"heatmaps and order must be picklable to be sent to other machines: {error}") from None
    return Work(
        store=store.path.absolute(),
        digest=store.digest,
        indices=store.indices.tobytes() if isinstance(store, Subset) else None,
        versions=versions_here(),
        batch_size=share.batch_size,
        skip=skip,
        max_bad_share=max_bad_share,
        parts=parts,
    )


class Worker:
    """Makes batches of one loader; its graph is built once.

    Answers with InputError, naming this machine, where store or versions are not those of the client.
    """

    def __init__(self, work: Work) -> None:
        self._refused: InputError | None = None
        try:
            store = _same_store(work)
            share, graph = _parts(work)
        except InputError as error:
            self._refused = error
            return
        self._share: Share = share
        self._engine = Engine(store, graph, work.batch_size)
        self._replacements = Replacements(store, share.planner, share.seed, work.max_bad_share) if work.skip else None

    def answers(self, agenda: Agenda, places: Iterable[int]) -> Iterator[Answer]:
        """The batches at those places, in order, up to the first error; DALI runs ahead of the one handed over."""
        if self._refused is not None:
            yield self._refused
            return
        self._share.rank = agenda.rank
        try:
            for epoch, group in groupby(agenda.items(places), key=lambda item: item[0]):
                yield from self._of_epoch(epoch, [step for _, step in group])
        except InputError as error:
            yield error

    def close(self) -> None:
        """Stop DALI and free its buffers."""
        if self._refused is None:
            self._engine.close()

    def _of_epoch(self, epoch: int, steps: list[int]) -> Iterator[Made]:
        share, replacements = self._share, self._replacements
        replace = None if replacements is None else replacements.of_epoch(epoch, share.step_of)
        for rows, outputs in self._engine.run((share.rows(epoch, step) for step in steps), replace):
            arrays = [np.asarray(output.as_tensor()) for output in outputs]
            yield Made(rows, arrays, [] if replacements is None else list(replacements.skipped))


def _same_store(work: Work) -> ImageStore:
    """The client's store, as it lies on this machine; InputError where this machine cannot do the client's work."""
    here, mine, clients = socket.gethostname(), dict(versions_here()), dict(work.versions)
    for name in sorted({*mine, *clients}):
        own, theirs = mine.get(name, "missing"), clients.get(name, "missing")
        if own != theirs:
            raise InputError(f"the worker on {here} has {name} {own}, the client {theirs}; install the same on both")
    try:
        store = ImageStore(work.store)
    except InputError as error:
        raise InputError(f"the worker on {here} cannot open the client's store: {error}") from None
    if store.digest != work.digest:
        raise InputError(
            f"{work.store} on {here} is another store ({store.digest[:12]}) than the client's ({work.digest[:12]}); "
            "copy the client's there, to the same path"
        )
    return store if work.indices is None else Subset(store, np.frombuffer(work.indices, np.int64))


def _parts(work: Work) -> tuple[Share, Any]:
    """Share and graph, with heatmaps opened on this machine."""
    try:
        return pickle.loads(work.parts)
    except (InputError, ImportError, AttributeError) as error:
        where = f"the worker on {socket.gethostname()}"
        raise InputError(f"{where} cannot open the client's heatmaps or order ({error}); copy them there") from None

"""What another machine needs to make the batches of a loader, and the worker that makes them there.

    LoaderSpec   store by path and digest, graph, share: pickled, some KB and the labels; the same for all ranks
    Worker       steps -> plan rows and pixels, by the same engine as in a local loader

Of Ray only its way to pickle is used here. A worker opens the store on its machine, at the same path, and refuses a
store with other content, and other versions of the libraries that decide the pixels.
"""

from __future__ import annotations

import dataclasses
import pickle
import platform
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..loader.bad_samples import Replacements
from ..loader.engine import Engine
from ..loader.rank_share import Share, StepRows
from ..store.reader import ImageStore
from ..store.subset import Subset

_DECIDING = ("sdali", "numpy", "nvidia-dali-cuda130", "nvidia-dali-cuda120")

Step = tuple[int, int]
"""An epoch, and the first position of a step in it."""


class RemoteBatch(NamedTuple):
    """A batch as it is sent from a worker to the trainer."""

    planned: StepRows
    """Its plan rows."""

    arrays: list[np.ndarray]
    """What the graph made of them."""

    skipped: list[tuple[int, str]]
    """Index and name of the bad samples that this worker has replaced so far."""


Result = RemoteBatch | InputError
"""A batch, or why there is none."""


@dataclass(frozen=True, kw_only=True)
class LoaderSpec:
    """A loader in a form that can be sent to other machines, without its rank."""

    store: Path
    digest: str
    indices: bytes | None
    """Where the loader's store is a subset: the indices of its samples, int64."""
    versions: tuple[tuple[str, str], ...]
    """The versions on the trainer's machine, see versions_here."""
    max_bad_share: float | None
    """None: bad samples are not replaced."""
    parts: bytes
    """Share and graph, pickled. Unpickling opens store and heatmaps, so it waits until the store has been checked."""


def versions_here() -> tuple[tuple[str, str], ...]:
    """Name and version of everything that decides the pixels: Python, sdali, NumPy and DALI."""
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in _DECIDING:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:  # only one of the two DALI wheels is installed
            continue
    return tuple(versions.items())


def spec_of(store: ImageStore, share: Share, graph: Any, *, threads: int, max_bad_share: float | None) -> LoaderSpec:
    """The spec of a loader whose workers have `threads` DALI threads each.

    Raises InputError where heatmaps or an order that the user has written cannot be pickled.
    """
    from ray import cloudpickle  # type: ignore[import-not-found]  # pickles closures too, which orders are made of

    try:
        parts = cloudpickle.dumps((dataclasses.replace(share, rank=0), dataclasses.replace(graph, threads=threads)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise InputError(f"heatmaps and order must be picklable to be sent to other machines: {error}") from None
    return LoaderSpec(
        store=store.path.absolute(),
        digest=store.digest,
        indices=store.indices.tobytes() if isinstance(store, Subset) else None,
        versions=versions_here(),
        max_bad_share=max_bad_share,
        parts=parts,
    )


class Worker:
    """Makes batches of one loader; its graph is built once.

    Raises InputError that names this machine where store, versions, heatmaps or order are not those of the client.
    """

    def __init__(self, spec: LoaderSpec) -> None:
        store = _same_store(spec)
        try:
            share, graph = pickle.loads(spec.parts)
        except (InputError, ImportError, AttributeError) as error:
            where = f"the worker on {socket.gethostname()}"
            raise InputError(f"{where} cannot open the client's heatmaps or order ({error}); copy them there") from None
        self._share: Share = share
        self._engine = Engine(store, graph, share.batch_size)
        self._replacements: Replacements | None = None
        if spec.max_bad_share is not None:
            self._replacements = Replacements(store, share.planner, share.seed, spec.max_bad_share)

    def results(self, rank: int, steps: Sequence[Step]) -> Iterator[Result]:
        """The rank's batches of these steps, in order, up to the first error; DALI works ahead of them."""
        share, replacements = self._share, self._replacements
        share.rank = rank
        try:
            for epoch, group in groupby(steps, key=lambda step: step[0]):
                replace = None if replacements is None else replacements.of_epoch(epoch)
                # Planned one by one, as they are fed, so that an error of planning comes after the batches before it.
                for planned, outputs in self._engine.run((share.rows(*step) for step in group), replace):
                    arrays = [np.asarray(output.as_tensor()) for output in outputs]
                    yield RemoteBatch(planned, arrays, [] if replacements is None else list(replacements.skipped))
        except InputError as error:
            yield error

    def close(self) -> None:
        """Stop DALI and free its buffers."""
        self._engine.close()


def _same_store(spec: LoaderSpec) -> ImageStore:
    """The client's store on this machine; raises InputError where store or versions differ from the client's."""
    here, ours, theirs = socket.gethostname(), dict(versions_here()), dict(spec.versions)
    for name in sorted({*ours, *theirs}):
        our, their = ours.get(name, "missing"), theirs.get(name, "missing")
        if our != their:
            raise InputError(f"the worker on {here} has {name} {our}, the client {their}; install the same on both")
    try:
        store = ImageStore(spec.store)
    except InputError as error:
        raise InputError(f"the worker on {here} cannot open the client's store: {error}") from None
    if store.digest != spec.digest:
        raise InputError(
            f"{spec.store} on {here} is another store ({store.digest[:12]}) than the client's ({spec.digest[:12]}); "
            "copy the client's there, to the same path"
        )
    return store if spec.indices is None else Subset(store, np.frombuffer(spec.indices, np.int64))

"""A loader whose batches are made on the machines of a Ray cluster: the same batches, by any number of workers.

    loader = RemoteLoader(classification.train_loader("pets.lmdb", ..., colour_on="device", device="cpu"), actors=8)

It keeps what the local loader promises, because it is that loader with its graph on other machines. One stream of
batches goes on over the ends of epochs, so that workers are busy there too; after a `break`, or when a state is loaded,
a new stream begins, on the same workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import torch

from ..config import MOST_THREADS
from ..errors import InputError
from ..io.bounds import whole_number
from ..loader.counters import Waiting
from ..loader.loader import Loader
from ..loader.rank_share import StepRows
from .cluster import MOST_ACTORS, actors_of, batches, check_room, join, require_ray, start_actors
from .worker import RemoteBatch, Step, spec_of


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
        if self._graph.cuda is not None:
            raise InputError("workers decode on CPUs: make the loader with device='cpu', and bring batches to the GPU")
        self._engine.close()
        self._waiting = Waiting()
        require_ray()
        max_bad_share = self._settings.max_bad_share if self._settings.on_error == "skip" else None
        self._spec = spec_of(self.store, self._share, self._graph, threads=cpus, max_bad_share=max_bad_share)
        self._count, self._cpus, self._pool = actors, cpus, pool
        join(address)
        if pool is None:
            check_room(actors, cpus)
        self._actors: list[Any] = []
        self._stream: Iterator[tuple[RemoteBatch, bool]] = iter(())
        self._due: Step | None = None  # the step whose batch the stream hands over next

    def close(self) -> None:
        """Stop the workers, except those of a pool; Ray goes on."""
        self._iteration = None
        self._stream, self._due = iter(()), None
        self._actors = []  # Ray ends an actor with its last handle

    def _served(self, epoch: int, position: int) -> Iterator[tuple[StepRows, list[torch.Tensor], bool]]:
        steps = self._share.steps(position)
        if steps and self._due != (epoch, position):
            if not self._actors:
                pool = self._pool
                self._actors = start_actors(self._count, self._cpus) if pool is None else actors_of(pool)
            ahead = _endless(epoch, steps, self._share.steps())
            self._stream = batches(self._actors, self._spec, self._share.rank, ahead)
        for step in steps:
            try:
                batch, ready = next(self._stream)
            except BaseException:
                self.close()
                raise
            assert batch.planned.step == step
            self._replacements.merge(batch.skipped)
            self._due = (epoch, step + steps.step) if step != steps[-1] else (epoch + 1, 0)
            # Copied, as Ray's memory is read-only and scarce.
            yield batch.planned, [torch.from_numpy(array.copy()) for array in batch.arrays], ready


def _endless(epoch: int, rest: range, whole: range) -> Iterator[Step]:
    """The steps left in an epoch, then those of all later ones."""
    yield from ((epoch, step) for step in rest)
    for later in count(epoch + 1):
        yield from ((later, step) for step in whole)

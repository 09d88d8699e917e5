"""Batches for a trainer, exact by position: what a trainer gets depends on (seed, epoch, position) and nothing else.

A rank's batches are its share of the epoch. The state is that of the last batch handed out; batches that DALI has made
ahead do not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

import numpy as np
import torch
from typing_extensions import Self

from ..errors import InputError
from ..plan.order import ClassLists
from ..plan.planner import Planner
from ..store.reader import ImageStore
from .bad_samples import Replacements
from .batches import Batches
from .counters import READY_SECONDS, Counters, Waiting
from .cursor import Cursor
from .dataloader_compat import BatchSampler, EpochSampler
from .engine import Engine
from .options import TrainLoaderOptions
from .rank_share import Share, StepRows

if TYPE_CHECKING:  # imports DALI
    from ..graph.nodes import Graph

T = TypeVar("T")
U = TypeVar("U")
_FIXED = {"store", "batch_size", "dataset", "sampler", "batch_sampler", *TrainLoaderOptions.__annotations__}


class Loader:
    """An iterable of batches, one epoch for each `for`, to be used as a `torch.utils.data.DataLoader` is.

    A batch is a dict: `image` [B, 3, size, size] on the loader's device, `label` and `index` int64 [B] and `window`
    int64 [B, 4] (y, x, height, width in the oriented original) on the CPU, `plan` the structured rows that made
    them; where they were asked for also `target` float32 [B, K], the soft label, and `colour` float32 [B, 3, 5],
    still to be applied, both on the CPU; in scene parsing `mask` int64 [B, H, W] beside `image` [B, 3, H, W]; in
    object detection what detection.train_loader says. Where a sample has several views, `image` is [B, views, 3,
    size, size], and `window`, `plan` and `colour` have that axis too. Every rank makes the same number of batches.
    In training they are full, unless drop_last is False; in a test each position is served exactly once over all
    ranks, last batches may be short, and on some ranks empty where there are fewer samples than ranks.

    Under pad=True every batch has `padding`, bool [B], True where a sample repeats the last one of the epoch.

    A `with` closes the loader at its end. There is one iteration at a time: a second one is refused until the first has
    ended. `num_workers` and `prefetch_factor` are those of a DataLoader without workers.
    """

    num_workers, prefetch_factor = 0, None

    def __init__(
        self, batches: Batches, *, planner: Planner, graph: Graph, labels: np.ndarray | ClassLists | None = None
    ) -> None:
        """Users call train_loader or test_loader of a task.

        labels: the classes that the order goes by; by default the store's labels.
        """
        settings = batches.settings
        store = settings.store
        self._settings, self._graph, self._batches = settings, graph, batches
        labels = store.labels if labels is None else labels
        self._share = Share(
            planner=planner,
            order=settings.order,
            labels=labels,
            seed=settings.seed,
            batch_size=settings.batch_size,
            rank=settings.rank,
            world_size=settings.world_size,
            least=settings.least,
            pad=settings.pad,
            length=settings.order.length(labels) if len(store) else 0,
        )
        self._cursor = Cursor(store, self._share)
        self._engine = Engine(store, graph, settings.batch_size)
        self._waiting = Waiting()
        self._replacements = Replacements(store, planner, settings.seed, settings.max_bad_share)
        self._iteration: object | None = None  # the one under way

    def __len__(self) -> int:
        """The number of batches in an epoch, the same on every rank."""
        return len(self._cursor)

    @property
    def store(self) -> ImageStore:
        """The store, or the Subset of one."""
        return self._settings.store

    @property
    def batch_size(self) -> int:
        """Samples in a batch of one rank."""
        return self._settings.batch_size

    @property
    def epoch(self) -> int:
        """The epoch under way, until its loop has come to its end, or the next one where none is."""
        return self._cursor.epoch

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """Index and name of the bad samples replaced so far, see bad_samples."""
        return self._replacements.skipped

    @property
    def counters(self) -> Counters:
        """How many batches and samples were handed out, and how long each side has waited for the other."""
        return self._waiting.counters

    def on_batch(self, hook: Callable[[Counters], None] | None) -> None:
        """Call `hook` with the counters before each batch goes out, for a user's own metrics; None ends that."""
        self._waiting.on_batch = hook

    @property
    def dataset(self) -> ImageStore:
        """The store: `len(loader.dataset)` is the number of its images."""
        return self.store

    @property
    def sampler(self) -> EpochSampler:
        """The indices of the epoch's samples on this rank, with `set_epoch`; for code written for a DataLoader."""
        return EpochSampler(self._cursor, self.epoch)

    @property
    def batch_sampler(self) -> BatchSampler:
        """For code that looks for a DataLoader's `batch_sampler.sampler`."""
        return BatchSampler(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, with the next batch.

        A state just loaded of that very epoch stays, as frameworks name the epoch after resuming, too.
        """
        self._cursor.set_epoch(epoch)

    def map(self, function: Callable[[dict[str, Any]], T]) -> Mapped[T]:
        """This loader with batches as `function` makes them: loader.map(lambda b: (b["image"], b["label"]))."""
        return Mapped(self, function)

    @property
    def batches_left(self) -> int:
        """The number of batches in the rest of the epoch, the same on every rank."""
        return self._cursor.steps_left

    def state_dict(self) -> dict[str, Any]:
        """How far the trainer has come, as plain JSON: seed, epoch, global position, order, digest of the store."""
        return self._cursor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, with the next batch, on any batch size and number of ranks; see cursor for its law.

        Raises InputError for a state of another seed, order or store.
        """
        self._cursor.load_state_dict(state)

    def __getitem__(self, index: object) -> NoReturn:
        raise InputError(
            "a loader makes whole batches in its own order and cannot be indexed: iterate over it, in place of a "
            "torch DataLoader and not inside one; single images are in loader.store"
        )

    def __reduce__(self) -> NoReturn:
        raise InputError("a loader cannot be sent to another process; make one there, and give it state_dict()")

    def close(self) -> None:
        """Stop DALI, free its buffers and end the iteration under way; another one may follow."""
        self._iteration = None
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __setattr__(self, name: str, value: object) -> None:
        if name in _FIXED:
            raise InputError(f"{name} is chosen where a loader is made, and cannot be set; make another loader")
        super().__setattr__(name, value)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rest of the epoch, or, after a `break`, the next epoch; it begins with its first batch, not with iter().

        set_epoch and load_state_dict, called between two batches, move the running iteration: the inner loop ends, and
        the outer one starts again at the new position.
        """
        if self._iteration is not None:  # one pipeline and one state cannot follow two
            raise InputError(
                "another iteration over this loader has not ended: end it, with its close() or the loader's, or make a "
                "loader for each"
            )
        this = self._iteration = object()
        try:
            for batch in self._rest_of_epoch():
                yield batch
                if self._iteration is not this:
                    raise InputError("the loader was closed, which has ended this iteration; begin another one")
                self._waiting.ask()
        finally:
            if self._iteration is this:
                self._iteration = None

    def _rest_of_epoch(self) -> Iterator[dict[str, Any]]:
        cursor = self._cursor
        cursor.begin()
        self._waiting.begin()
        while True:
            moves = cursor.moves
            for planned, outputs, ready in self._served(cursor.epoch, cursor.position):
                yield self._handed_out(planned, outputs, ready=ready)
                if moves != cursor.moves:
                    break
            else:
                if cursor.steps_left:  # the last step leaves nothing for this rank, but ranks keep in step
                    yield self._handed_out(self._share.rows(cursor.epoch, cursor.position), None, ready=True)
            if moves == cursor.moves:
                cursor.end_epoch()
                return
            cursor.go_on()

    def _handed_out(self, planned: StepRows, outputs: list[torch.Tensor] | None, *, ready: bool) -> dict[str, Any]:
        """The batch of these rows, which the state is behind from now on."""
        self._cursor.advance(planned.step + self._share.step)
        padding = self._share.padding(planned.step) if self._settings.pad else None
        batch = self._batches.of(planned.rows, outputs, padding)
        self._waiting.hand_out(len(batch["index"]), ready=ready)
        return batch

    def _served(self, epoch: int, position: int) -> Iterator[tuple[StepRows, list[torch.Tensor], bool]]:
        """To the end of the epoch: rows, what the graph made of them, and whether it was ready when asked for."""
        replace = self._replacements.of_epoch(epoch) if self._settings.on_error == "skip" else None
        row_batches = (self._share.rows(epoch, step) for step in self._share.steps(position))
        for planned, outputs in self._engine.run(row_batches, replace):
            tensors = [torch.from_dlpack(output.as_tensor()) for output in outputs]
            yield planned, tensors, self._engine.blocked_seconds < READY_SECONDS


class Mapped(Generic[T]):
    """A loader whose batches have another form, such as (images, labels): `function` makes each when it is asked for.

    Everything that is not here is `loader`'s: `epoch`, `state_dict`, `set_epoch`, `sampler`, `counters`, `close`, ...
    """

    def __init__(self, loader: Loader, function: Callable[[dict[str, Any]], T]) -> None:
        self.loader, self.function = loader, function

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        return map(self.function, self.loader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.loader.close()

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("loader", "function"):
            super().__setattr__(name, value)
        else:
            setattr(self.loader, name, value)

    def __getitem__(self, index: object) -> NoReturn:
        self.loader.__getitem__(index)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # there is none yet while this object is being copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def map(self, function: Callable[[T], U]) -> Mapped[U]:
        """These batches in yet another form."""
        first = self.function
        return Mapped(self.loader, lambda batch: function(first(batch)))

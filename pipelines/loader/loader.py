"""Batches for a trainer, exact by position: what a trainer gets depends on (seed, epoch, position) and nothing else.

A rank's batches are its share of the epoch. The state is that of the last batch handed out, not of one prefetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn, TypeVar

import numpy as np
import torch

from ..errors import InputError
from ..io.bounds import whole_number
from ..plan.class_lists import ClassLists
from ..plan.order import Order
from ..store.reader import ImageStore
from .bad_samples import Replacements
from .batches import Batches
from .counters import READY_SECONDS, Counters, Waiting
from .cursor import Epochs
from .dataloader_compat import BatchesAreNotIndices, EpochSampler
from .engine import Engine, Graph
from .mapped import Mapped
from .rank_share import Planner, Share

T = TypeVar("T")


class Loader:
    """An iterable of batches, one epoch a `for`, to be used as a `torch.utils.data.DataLoader` is.

    A batch is a dict: `image` [B, 3, size, size] on the loader's device, `label` and `index` int64 [B] on the CPU,
    `plan` the structured rows that made them; where they were asked for also `target` float32 [B, K], the soft label,
    and `colour` float32 [B, 3, 5], still to be applied, both on the CPU; in scene parsing `mask` int64 [B, H, W] beside
    `image` [B, 3, H, W]; in object detection what detection.train_loader says. Where a sample has several views,
    `image` is [B, views, 3, size, size], and `plan` and `colour` have that axis too. With drop_last every rank makes
    the same number of full batches; without it each position is served exactly once over all ranks and last batches may
    be short or empty.

    Attributes: `store`, `batch_size` (per rank), `epoch` (the one that the next batch belongs to), `skipped` (list of
    (index, name) replaced under on_error="skip"), and what a DataLoader without workers says.
    """

    num_workers, prefetch_factor = 0, None

    def __init__(
        self,
        *,
        store: ImageStore,
        planner: Planner,
        graph: Graph,
        empty: Callable[[], dict[str, torch.Tensor]],
        order: Order,
        seed: int,
        batch_size: int,
        rank: int,
        world_size: int,
        drop_last: bool,
        on_error: Literal["raise", "skip"],
        max_bad_share: float,
        pin_memory: bool,
        uncoloured: bool,
        dtype: torch.dtype,
        channels_last: bool,
        targets: np.ndarray | None = None,
        labels: np.ndarray | ClassLists | None = None,
        annotations: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        _check(batch_size, rank, world_size, on_error, max_bad_share)
        self.store, self.batch_size = store, batch_size
        self._on_error = on_error
        self._batches = Batches(
            store=store,
            empty=empty,
            dtype=dtype,
            channels_last=channels_last,
            uncoloured=uncoloured,
            pin_memory=pin_memory,
            targets=targets,
            annotations=annotations,
        )
        labels = store.labels if labels is None else labels
        self._share = Share(
            planner=planner,
            order=order,
            labels=labels,
            seed=seed,
            batch_size=batch_size,
            rank=rank,
            world_size=world_size,
            drop_last=drop_last,
            length=order.length(labels) if len(store) else 0,
        )
        self._epochs = Epochs(store, self._share)
        self._graph, self._engine = graph, Engine(store, graph, batch_size)
        self._waiting = Waiting()
        self._replacements = Replacements(store, planner, seed, max_bad_share)

    def __len__(self) -> int:
        """Batches an epoch, on every rank."""
        return len(self._epochs)

    @property
    def epoch(self) -> int:
        """The epoch under way, or the next one where none is."""
        return self.state_dict()["epoch"]

    @property
    def skipped(self) -> list[tuple[int, str]]:
        """The bad samples replaced so far, see Replacements."""
        return self._replacements.skipped

    @property
    def counters(self) -> Counters:
        """Batches and samples handed out, seconds waited on either side, see waiting.Counters."""
        return self._waiting.counters

    def on_batch(self, hook: Callable[[Counters], None] | None) -> None:
        """Call `hook` with the counters before each batch goes out, for metrics of a user's own; None: no more."""
        self._waiting.on_batch = hook

    @property
    def dataset(self) -> ImageStore:
        """The store: `len(loader.dataset)` is the number of its images."""
        return self.store

    @property
    def sampler(self) -> EpochSampler:
        """The samples of the epoch on this rank, and `set_epoch`, see EpochSampler."""
        return EpochSampler(self._epochs, self.epoch)

    @property
    def batch_sampler(self) -> BatchesAreNotIndices:
        """For code that looks only at its `sampler`; refused where batches are asked of it."""
        return BatchesAreNotIndices(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, with the next batch.

        But a state just loaded in the middle of that very epoch stays: frameworks name the epoch after resuming, too.
        """
        self._epochs.set_epoch(epoch)

    def map(self, function: Callable[[dict[str, Any]], T]) -> Mapped[T]:
        """This loader with batches as `function` makes them: loader.map(lambda b: (b["image"], b["label"]))."""
        return Mapped(self, function)

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer is, as plain JSON: seed, epoch, global position of the next sample, order, store digest."""
        return self._epochs.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, with the next batch, on any batch size and number of ranks.

        Raises InputError for a state of another seed, order or store.
        """
        self._epochs.load_state_dict(state)

    def __getitem__(self, index: object) -> NoReturn:
        raise InputError(
            "a loader makes whole batches in its own order and cannot be indexed: iterate over it, in place of a "
            "torch DataLoader and not inside one; single images are in loader.store"
        )

    def __reduce__(self) -> NoReturn:
        raise InputError("a loader cannot be sent to another process; make one there, and give it state_dict()")

    def close(self) -> None:
        """Stop DALI and free its buffers."""
        self._engine.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rest of the epoch, after a `break` the next one; it begins with its first batch, not with iter()."""
        at = self._epochs
        at.begin()
        self._waiting.begin()
        while True:
            moves = at.moves
            for rows, outputs, ready in self._served(at.epoch, at.position):
                at.served(self._share.step_of(rows) + self._share.step)
                yield self._counted(self._batches.of(rows, outputs), ready=ready)
                self._waiting.ask()
                if moves != at.moves:
                    break
            else:
                yield from self._empty_batch()
            if moves == at.moves:
                at.over()
                return
            at.go_on()

    def _counted(self, batch: dict[str, Any], *, ready: bool) -> dict[str, Any]:
        self._waiting.hand_out(len(batch["index"]), ready=ready)
        return batch

    def _served(self, epoch: int, position: int) -> Iterator[tuple[np.ndarray, list[torch.Tensor], bool]]:
        """Rows, what the graph made of them, and whether it was there when asked for: to the end of the epoch."""
        skip = self._on_error == "skip"
        replace = self._replacements.of_epoch(epoch, self._share.step_of) if skip else None
        row_batches = (self._share.rows(epoch, step) for step in self._share.steps(position))
        for rows, outputs in self._engine.run(row_batches, replace):
            tensors = [torch.from_dlpack(output.as_tensor()) for output in outputs]
            yield rows, tensors, self._engine.blocked_seconds < READY_SECONDS

    def _empty_batch(self) -> Iterator[dict[str, Any]]:
        """Where the last step of the epoch leaves nothing for this rank, an empty batch, so that ranks keep in step."""
        at = self._epochs
        if at.position < self._share.end:
            rows = self._share.no_rows(at.epoch)
            at.served(self._share.length)
            yield self._counted(self._batches.of(rows, None), ready=True)


def _check(batch_size: int, rank: int, world_size: int, on_error: str, max_bad_share: float) -> None:
    whole_number("batch_size", batch_size)
    if not 0 <= rank < world_size:
        raise InputError(f"rank must be within [0, world_size), got rank {rank} of {world_size}")
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be raise or skip, got {on_error!r}")
    if not (isinstance(max_bad_share, int | float) and 0 <= max_bad_share <= 1):
        raise InputError(f"max_bad_share must be within [0, 1], got {max_bad_share!r}")

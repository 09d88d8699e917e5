"""Batches for a trainer, exact by position: what a trainer gets depends on (seed, epoch, position) and nothing else.

A rank's batches are its share of the epoch. The state is that of the last batch handed out, not of one prefetched.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterator
from typing import Any, Literal, NoReturn

import numpy as np
import torch

from .engine import Engine, Graph
from .errors import InputError
from .order import Order
from .order_lists import ClassLists
from .plan import first_views
from .replacement import Replacements
from .share import Planner, Share
from .store_read import ImageStore
from .waiting import READY_SECONDS, Counters, Waiting

logger = logging.getLogger("sdali")


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
    (index, name) replaced under on_error="skip").
    """

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
        targets: np.ndarray | None = None,
        labels: np.ndarray | ClassLists | None = None,
        annotations: Callable[[np.ndarray], dict[str, Any]] | None = None,
    ) -> None:
        _check(batch_size, rank, world_size, on_error, max_bad_share)
        self.store, self.batch_size = store, batch_size
        self._empty, self._pin_memory, self._uncoloured = empty, pin_memory, uncoloured
        self._targets = None if targets is None else torch.from_numpy(targets)
        self._annotations, self._on_error = annotations, on_error
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
        self._graph, self._engine = graph, Engine(store, graph, batch_size)
        self._epoch = self._position = 0
        self._under_way = False  # an epoch has begun and not come to its end
        self._moves = 0  # counts load_state_dict and set_epoch, which a running iteration follows
        self._waiting = Waiting()
        self._replacements = Replacements(store, planner, seed, max_bad_share)
        self._check_length()

    def __len__(self) -> int:
        """Batches an epoch, on every rank."""
        return len(range(0, self._share.end, self._share.step))

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

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch, with the next batch."""
        self._move(epoch, 0)

    def state_dict(self) -> dict[str, Any]:
        """Where the trainer is, as plain JSON: seed, epoch, global position of the next sample, order, store digest."""
        epoch, position = self._epoch, self._position
        if position >= self._share.end:
            epoch, position = epoch + 1, 0
        return {
            "seed": self._share.seed,
            "epoch": epoch,
            "position": position,
            "order": self._share.order.name,
            "store": self.store.digest,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state, with the next batch, on any batch size and number of ranks.

        Raises InputError for a state of another seed, order or store.
        """
        try:
            epoch, position = operator.index(state["epoch"]), operator.index(state["position"])
            found = {name: state[name] for name in ("seed", "order", "store")}
        except (KeyError, TypeError, ValueError):
            raise InputError(f"this is not a loader's state: {state!r}; pass what state_dict() returned") from None
        for name, value in found.items():
            if value != self.state_dict()[name]:
                mine = self.state_dict()[name]
                raise InputError(f"the state has {name} {value!r}, this loader has {mine!r}; make the loader with it")
        if epoch < 0 or not 0 <= position <= self._share.length:
            raise InputError(f"the state's epoch {epoch} and position {position} do not exist in {self.store.path}")
        self._move(epoch, position)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self._under_way:
            self._epoch, self._position = self._epoch + 1, 0
        self._under_way = True
        return self._rest_of_epoch()

    def __reduce__(self) -> NoReturn:
        raise InputError("a loader cannot be sent to another process; make one there, and give it state_dict()")

    def close(self) -> None:
        """Stop DALI and free its buffers."""
        self._engine.close()

    def _rest_of_epoch(self) -> Iterator[dict[str, Any]]:
        self._waiting.begin()
        while True:
            moves = self._moves
            for rows, outputs, ready in self._served(self._epoch, self._position):
                self._position = self._share.step_of(rows) + self._share.step
                yield self._counted(self._batch(rows, outputs), ready=ready)
                self._waiting.ask()
                if moves != self._moves:
                    break
            else:
                yield from self._empty_batch()
            if moves == self._moves:
                self._epoch, self._position, self._under_way = self._epoch + 1, 0, False
                return
            self._under_way = True

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
        if self._position < self._share.end:
            self._position = self._share.length
            yield self._counted(self._batch(self._share.no_rows(self._epoch), None), ready=True)

    def _batch(self, rows: np.ndarray, outputs: list[torch.Tensor] | None) -> dict[str, Any]:
        tensors = self._empty()
        if outputs is not None:
            tensors = dict(zip(tensors, outputs, strict=True))
        if rows.ndim == 1:
            tensors = {name: tensor.flatten(0, 1) for name, tensor in tensors.items()}  # the one view of each sample
        if "mask" in tensors:
            tensors["mask"] = tensors["mask"].long()  # what torch's losses take
        indices = first_views(rows)["index"].copy()
        label, index = torch.from_numpy(self.store.labels[indices].astype(np.int64)), torch.from_numpy(indices)
        batch: dict[str, Any] = {**tensors, "label": label, "index": index, "plan": rows}
        if self._annotations is not None:
            batch.update(self._annotations(rows))
        if self._targets is not None:
            batch["target"] = self._targets[label]
        if self._uncoloured:
            batch["colour"] = torch.from_numpy(rows["colour"].copy())
        if self._pin_memory:
            for name in ("image", "mask", "label", "target", "colour"):
                if name in batch and batch[name].device.type == "cpu":
                    batch[name] = batch[name].pin_memory()
        return batch

    def _move(self, epoch: int, position: int) -> None:
        self._epoch, self._position, self._under_way = epoch, position, False
        self._moves += 1

    def _check_length(self) -> None:
        count, step = self._share.length, self._share.step
        if count == 0:
            raise InputError(f"{self.store.path} holds no images")
        if self._share.drop_last and count < step:
            raise InputError(
                f"an epoch of {self.store.path} has {count} images, fewer than the {step} of one step; "
                "lower batch_size or lengthen the epoch"
            )
        if self._share.drop_last and count % step:
            logger.info("each epoch drops its last %d of %d samples, which fill no step", count % step, count)


def whole_number(name: str, value: object) -> None:
    """Raise InputError unless it is an integer of at least 1."""
    if not isinstance(value, int | np.integer) or value < 1:
        raise InputError(f"{name} must be at least 1 and whole, got {value!r}")


def _check(batch_size: int, rank: int, world_size: int, on_error: str, max_bad_share: float) -> None:
    whole_number("batch_size", batch_size)
    if not 0 <= rank < world_size:
        raise InputError(f"rank must be within [0, world_size), got rank {rank} of {world_size}")
    if on_error not in ("raise", "skip"):
        raise InputError(f"on_error must be raise or skip, got {on_error!r}")
    if not (isinstance(max_bad_share, int | float) and 0 <= max_bad_share <= 1):
        raise InputError(f"max_bad_share must be within [0, 1], got {max_bad_share!r}")

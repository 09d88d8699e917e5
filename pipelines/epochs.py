"""Where a trainer is in its epochs, and which positions of them are a rank's; see loader for what they mean.

Step t covers the global positions [t * G, (t + 1) * G), G = batch_size * world_size; rank r has the r-th block of them.
"""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from .errors import InputError
from .order import Order
from .order_lists import Labels
from .store_read import ImageStore

logger = logging.getLogger("sdali")


class Epochs:
    """The place in the endless sequence of epochs, of one rank's loader.

    Attributes: `epoch` and `position` of the next step; `length`, positions an epoch; `step`, positions a step of all
    ranks; `moves` counts load_state_dict and set_epoch, which a running iteration follows.
    """

    def __init__(
        self,
        store: ImageStore,
        labels: Labels,
        order: Order,
        *,
        seed: int,
        batch_size: int,
        rank: int,
        world_size: int,
        drop_last: bool,
    ) -> None:
        """labels: what the order goes by. Raises InputError where an epoch has no step."""
        self._store, self._labels, self._order, self._seed = store, labels, order, seed
        self._batch_size, self.rank, self.step, self._drop_last = batch_size, rank, batch_size * world_size, drop_last
        self.length = order.length(labels) if len(store) else 0
        self.epoch = self.position = self.moves = 0
        self._under_way = False  # an epoch has begun and not come to its end
        self._loaded = False  # a state has been, and no batch has followed it yet
        self._indices_of: tuple[int, np.ndarray] | None = None
        self._check_length()
        if drop_last:
            _warn_of_ranks(world_size)

    def __len__(self) -> int:
        """Steps an epoch."""
        return self.length // self.step if self._drop_last else -(-self.length // self.step)

    @property
    def end(self) -> int:
        """A step that would begin here or later is not in the epoch, counted from where this iteration began it."""
        if not self._drop_last:
            return self.length
        return self.length - self.step + 1 if self.length >= self.step else 0

    def indices(self, epoch: int) -> np.ndarray:
        """The sample at each position of an epoch: int64 [length]."""
        if self._indices_of is None or self._indices_of[0] != epoch:
            self._indices_of = epoch, self._order.indices(self._labels, self._seed, epoch)
        return self._indices_of[1]

    def shares(self, first: int = 0) -> Iterator[tuple[int, slice]]:
        """Each step from position `first` to the end of the epoch: where it begins, and this rank's positions in it.

        These may be none.
        """
        for step_start in range(first, self.end, self.step):
            start = min(step_start + self.rank * self._batch_size, self.length)
            yield step_start, slice(start, min(start + self._batch_size, self.length))

    def begin(self) -> None:
        """An iteration starts: where an epoch was left in the middle, with the next one."""
        if self._under_way:
            self.epoch, self.position = self.epoch + 1, 0
        self._under_way = True

    def go_on(self) -> None:
        """The iteration starts again from where it has been moved to."""
        self._under_way = True

    def served(self, position: int) -> None:
        """All ranks have been handed what lies before `position`."""
        self.position, self._loaded = position, False

    def over(self) -> None:
        """The epoch has come to its end."""
        self.epoch, self.position, self._under_way = self.epoch + 1, 0, False

    def set_epoch(self, epoch: int) -> None:
        """See Loader.set_epoch."""
        if not isinstance(epoch, int | np.integer) or epoch < 0:
            raise InputError(f"epoch must be whole and 0 or later, got {epoch!r}")
        if not (self._loaded and epoch == self.state_dict()["epoch"]):
            self._move(int(epoch), 0)

    def state_dict(self) -> dict[str, Any]:
        """See Loader.state_dict."""
        epoch, position = self.epoch, self.position
        if position >= self.end:
            epoch, position = epoch + 1, 0
        return {
            "seed": self._seed,
            "epoch": epoch,
            "position": position,
            "order": self._order.name,
            "store": self._store.identity,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Loader.load_state_dict."""
        try:
            epoch, position = operator.index(state["epoch"]), operator.index(state["position"])
            found = {name: state[name] for name in ("seed", "order", "store")}
        except (KeyError, TypeError, ValueError):
            raise InputError(f"this is not a loader's state: {state!r}; pass what state_dict() returned") from None
        for name, value in found.items():
            if value != self.state_dict()[name]:
                mine = self.state_dict()[name]
                raise InputError(f"the state has {name} {value!r}, this loader has {mine!r}; make the loader with it")
        if epoch < 0 or not 0 <= position <= self.length:
            raise InputError(f"the state's epoch {epoch} and position {position} do not exist in {self._store.path}")
        self._move(epoch, position)
        self._loaded = True

    def _move(self, epoch: int, position: int) -> None:
        self.epoch, self.position, self._under_way, self._loaded = epoch, position, False, False
        self.moves += 1

    def _check_length(self) -> None:
        count = self.length
        if count == 0:
            raise InputError(f"{self._store.path} holds no images")
        if not self._drop_last:
            return
        if count < self.step:
            raise InputError(
                f"an epoch of {self._store.path} has {count} images, fewer than the {self.step} of one step; "
                "lower batch_size or lengthen the epoch"
            )
        if count % self.step:
            logger.info("each epoch drops its last %d of %d samples, which fill no step", count % self.step, count)


def _warn_of_ranks(world_size: int) -> None:
    """Frameworks divide a DataLoader among ranks, but cannot divide this."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        found = torch.distributed.get_world_size()
        if found != world_size:
            made_for = f"this loader is made for world_size={world_size}, torch.distributed has {found} ranks"
            logger.warning("%s: they would train on the same samples; pass rank= and world_size=", made_for)

"""Where a trainer is in its epochs: the place that a loader goes on from, moves to and gives as its state."""

from __future__ import annotations

import logging
import operator
from typing import Any

import numpy as np
import torch

from ..errors import InputError
from ..store.reader import ImageStore
from .rank_share import Share

logger = logging.getLogger("sdali")


class Epochs:
    """The place in the endless sequence of epochs, of one rank's loader.

    Attributes: `share`; `epoch` and `position` of the next step; `moves` counts load_state_dict and set_epoch, which a
    running iteration follows.
    """

    def __init__(self, store: ImageStore, share: Share) -> None:
        """Raises InputError where an epoch has no step."""
        self._store, self.share = store, share
        self.epoch = self.position = self.moves = 0
        self._under_way = False  # an epoch has begun and not come to its end
        self._loaded = False  # a state has been, and no batch has followed it yet
        self._check_length()
        if share.drop_last:
            _warn_of_ranks(share.world_size)

    def __len__(self) -> int:
        """Steps an epoch."""
        return len(range(0, self.share.end, self.share.step))

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
        if position >= self.share.end:
            epoch, position = epoch + 1, 0
        return {
            "seed": self.share.seed,
            "epoch": epoch,
            "position": position,
            "order": self.share.order.name,
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
        if epoch < 0 or not 0 <= position <= self.share.length:
            raise InputError(f"the state's epoch {epoch} and position {position} do not exist in {self._store.path}")
        self._move(epoch, position)
        self._loaded = True

    def _move(self, epoch: int, position: int) -> None:
        self.epoch, self.position, self._under_way, self._loaded = epoch, position, False, False
        self.moves += 1

    def _check_length(self) -> None:
        count, step = self.share.length, self.share.step
        if count == 0:
            raise InputError(f"{self._store.path} holds no images")
        if self.share.drop_last and count < step:
            raise InputError(
                f"an epoch of {self._store.path} has {count} images, fewer than the {step} of one step; "
                "lower batch_size or lengthen the epoch"
            )
        if self.share.drop_last and count % step:
            logger.info("each epoch drops its last %d of %d samples, which fill no step", count % step, count)


def _warn_of_ranks(world_size: int) -> None:
    """Frameworks divide a DataLoader among ranks, but cannot divide this."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        found = torch.distributed.get_world_size()
        if found != world_size:
            made_for = f"this loader is made for world_size={world_size}, torch.distributed has {found} ranks"
            logger.warning("%s: they would train on the same samples; pass rank= and world_size=", made_for)

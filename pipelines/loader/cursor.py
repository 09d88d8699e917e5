"""How far a trainer has come in its epochs: where a loader goes on, and the state that it saves."""

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


class Cursor:
    """The next step of one rank's loader in the endless sequence of epochs.

    Attributes: `share`; `epoch` and `position` of the next step; `moves`, the number of calls of load_state_dict and
    set_epoch so far, by which a running iteration notices that it has to go on elsewhere.
    """

    def __init__(self, store: ImageStore, share: Share) -> None:
        """Raises InputError where an epoch has no step."""
        self._store, self.share = store, share
        self.epoch = self.position = self.moves = 0
        self._under_way = False  # an iteration has begun this epoch and has not come to its end
        self._loaded = False  # a state was loaded, and no batch has followed it yet
        self._check_length()
        if share.drop_last:
            _warn_of_ranks(share.world_size)

    def __len__(self) -> int:
        """The number of steps in an epoch."""
        return len(range(0, self.share.end, self.share.step))

    def begin(self) -> None:
        """A new iteration starts. After a `break` in mid-epoch that is the next epoch, not the rest of the old one."""
        if self._under_way:  # a generator left by `break` cannot be told from a slow one, so the next start decides
            self.epoch, self.position = self.epoch + 1, 0
        self._under_way = True

    def go_on(self) -> None:
        """A running iteration goes on from where load_state_dict or set_epoch has moved it."""
        self._under_way = True  # _move has cleared it, and without it a later `break` would repeat the epoch

    def advance(self, position: int) -> None:
        """All ranks have been given what lies before `position`."""
        # What was handed out, not what DALI has made ahead: a state that counted those would leave samples out.
        self.position, self._loaded = position, False

    def end_epoch(self) -> None:
        """The epoch is over; the next one begins."""
        self.epoch, self.position, self._under_way = self.epoch + 1, 0, False

    def set_epoch(self, epoch: int) -> None:
        """See Loader.set_epoch."""
        if not isinstance(epoch, int | np.integer) or epoch < 0:
            raise InputError(f"epoch must be whole and 0 or later, got {epoch!r}")
        # Frameworks load a state and then name its epoch: that must not send the loader back to the epoch's beginning.
        if not (self._loaded and epoch == self.state_dict()["epoch"]):
            self._move(int(epoch), 0)

    def state_dict(self) -> dict[str, Any]:
        """See Loader.state_dict."""
        epoch, position = self.epoch, self.position
        if position >= self.share.end:  # the last batch is out, but the iteration has not come back for more
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
            # Not int(), which would take a position of 3.7 or "3" and go on somewhere else without a word.
            epoch, position = operator.index(state["epoch"]), operator.index(state["position"])
            facts = {name: state[name] for name in ("seed", "order", "store")}
        except (KeyError, TypeError, ValueError):
            raise InputError(f"this is not a loader's state: {state!r}; pass what state_dict() returned") from None
        current = self.state_dict()
        for name, value in facts.items():
            if value != current[name]:
                raise InputError(
                    f"the state has {name} {value!r}, this loader has {current[name]!r}; make the loader with it"
                )
        # The length itself is right: a test's last step may end there; and no multiple of this loader's step is asked
        # for, since the state may be of another batch size.
        if epoch < 0 or not 0 <= position <= self.share.length:
            raise InputError(f"the state's epoch {epoch} and position {position} do not exist in {self._store.path}")
        self._move(epoch, position)
        self._loaded = True

    def _move(self, epoch: int, position: int) -> None:
        self.epoch, self.position, self._under_way, self._loaded = epoch, position, False, False
        self.moves += 1  # a count, because a state may lead to where the loader is, and the iteration must begin anew

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
    """Frameworks divide a DataLoader among the ranks by themselves, but they cannot divide this loader."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        ranks = torch.distributed.get_world_size()
        if ranks != world_size:
            made_for = f"this loader is made for world_size={world_size}, torch.distributed has {ranks} ranks"
            logger.warning("%s: they would train on the same samples; pass rank= and world_size=", made_for)

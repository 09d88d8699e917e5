"""How far a trainer has come in its epochs: where a loader goes on, and the state that it saves.

The law of states, for every loader. A state (epoch, position) says that all before `position` of the epoch is done.

- After the last batch of an epoch, while its loop still runs, the state is (epoch, length): the epoch is over, its loop
  is not. Once the loop has come to its end the state is (epoch + 1, 0).
- A loaded (epoch, length) gives that loop's rest, which is empty, and then the next epoch. So a loop that counts epochs
  by itself, from the one that it has saved, neither repeats nor misses one; torch's own loaders do the same.
- A loaded state in mid-epoch, after which no step fits because this loader's steps are larger, is the beginning of the
  next epoch, which `epoch` then names. A set_epoch that follows with the state's own epoch gets the empty rest of that.
"""

from __future__ import annotations

import logging
import operator
from typing import Any

import torch

from ..errors import InputError
from ..io.bounds import is_whole
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
        self._loaded: int | None = None  # the epoch of a state that was loaded, until a batch or epoch's end follows it
        self._check_length()
        _warn_of_ranks(share.world_size)

    def __len__(self) -> int:
        """The number of steps in an epoch."""
        return len(range(0, self.share.end, self.share.step))

    @property
    def steps_left(self) -> int:
        """The number of steps in the rest of the epoch."""
        return len(range(self.position, self.share.end, self.share.step))

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
        self.position, self._loaded = position, None

    def end_epoch(self) -> None:
        """The epoch is over; the next one begins."""
        self.epoch, self.position, self._under_way, self._loaded = self.epoch + 1, 0, False, None

    def set_epoch(self, epoch: int) -> None:
        """See Loader.set_epoch."""
        if not is_whole(epoch) or epoch < 0:
            raise InputError(f"epoch must be whole and 0 or later, got {epoch!r}")
        # Frameworks load a state and then name its epoch: that must not send the loader back to the epoch's beginning.
        if epoch != self._loaded:
            self._move(int(epoch), 0)
        elif epoch != self.epoch:  # no step of it was left, so load_state_dict has gone on to the next
            self._move(int(epoch), self.share.length)
            self._loaded = self.epoch  # frameworks may name it twice

    def state_dict(self) -> dict[str, Any]:
        """See Loader.state_dict."""
        return {
            "seed": self.share.seed,
            "epoch": self.epoch,
            "position": self.position if self.position < self.share.end else self.share.length,
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
        if self.share.end <= position < self.share.length:  # no step of this loader fits into what is left
            self._move(epoch + 1, 0)
        else:
            self._move(epoch, position)
        self._loaded = epoch

    def _move(self, epoch: int, position: int) -> None:
        self.epoch, self.position, self._under_way, self._loaded = epoch, position, False, None
        self.moves += 1  # a count, because a state may lead to where the loader is, and the iteration must begin anew

    def _check_length(self) -> None:
        count, step = self.share.length, self.share.step
        if count == 0:
            raise InputError(f"{self._store.path} holds no images")
        if count < self.share.least:
            raise InputError(
                f"an epoch of {self._store.path} has {count} images, fewer than the {self.share.least} of one step; "
                "lower batch_size or raise epoch_length"
            )
        if count % step < self.share.least and count % step:
            logger.info("each epoch drops its last %d of %d samples, which fill no step", count % step, count)


def _warn_of_ranks(world_size: int) -> None:
    """Frameworks divide a DataLoader among the ranks by themselves, but they cannot divide this loader."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        ranks = torch.distributed.get_world_size()
        if ranks != world_size:
            made_for = f"this loader is made for world_size={world_size}, torch.distributed has {ranks} ranks"
            logger.warning("%s: they would see the same samples; pass rank= and world_size=", made_for)

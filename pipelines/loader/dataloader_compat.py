"""What code written for a `torch.utils.data.DataLoader` expects of its samplers.

timm and Lightning call `loader.sampler.set_epoch(epoch)` before each epoch, scripts take `len(loader.sampler)` for the
number of samples of their rank, and Lightning looks for the sampler in `loader.batch_sampler`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

import numpy as np

from ..errors import InputError
from .cursor import Cursor


class EpochSampler:
    """The indices of one epoch's samples on the loader's rank, in order, before bad samples are replaced.

    It can be read and has `set_epoch`, which is the loader's; the order is chosen where the loader is made.
    """

    def __init__(self, cursor: Cursor, epoch: int) -> None:
        self._cursor, self._epoch = cursor, epoch

    def __len__(self) -> int:
        return sum(map(len, self._positions()))

    @property
    def num_valid_samples(self) -> int:
        """The rank's samples without the repeats of pad=True, for timm's evaluators, which leave out what is behind."""
        share = self._cursor.share
        return sum(int((~share.padding(step)).sum()) for step in share.steps())

    def __iter__(self) -> Iterator[int]:
        indices = self._cursor.share.indices(self._epoch)
        for positions in self._positions():
            yield from indices[positions].tolist()

    def set_epoch(self, epoch: int) -> None:
        """See loader.Loader.set_epoch."""
        self._cursor.set_epoch(epoch)

    def _positions(self) -> Iterator[np.ndarray]:
        return map(self._cursor.share.positions, self._cursor.share.steps())


class BatchSampler:
    """Has the `sampler` that Lightning looks for; frameworks that would make another DataLoader of it are refused.

    accelerate does so to skip batches: iterating raises InputError, which says what to do in its place.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> NoReturn:
        raise InputError(
            "a loader cannot be made into another DataLoader: to go on in an epoch give it a state with "
            "load_state_dict() (for the Hugging Face Trainer set ignore_data_skip=True), to share it among ranks make "
            "it with rank= and world_size="
        )

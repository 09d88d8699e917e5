"""What code written for a `torch.utils.data.DataLoader` finds in place of its sampler.

timm and Lightning call `loader.sampler.set_epoch(epoch)` before each epoch, scripts take `len(loader.sampler)` for the
samples of their rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NoReturn

from ..errors import InputError
from .cursor import Epochs


class EpochSampler:
    """The samples of one epoch on the loader's rank, in the order in which it serves them; bad ones not yet replaced.

    A view, for reading and for `set_epoch`, which is the loader's: the order is chosen where the loader is made.
    """

    def __init__(self, epochs: Epochs, epoch: int) -> None:
        self._epochs, self._epoch = epochs, epoch

    def __len__(self) -> int:
        return sum(own.stop - own.start for own in self._own())

    def __iter__(self) -> Iterator[int]:
        indices = self._epochs.share.indices(self._epoch)
        for own in self._own():
            yield from indices[own].tolist()

    def set_epoch(self, epoch: int) -> None:
        """See loader.Loader.set_epoch."""
        self._epochs.set_epoch(epoch)

    def _own(self) -> Iterator[slice]:
        return map(self._epochs.share.positions, self._epochs.share.steps())


class BatchesAreNotIndices:
    """In place of a DataLoader's batch sampler, from which frameworks make another DataLoader, such as one that skips.

    Has `sampler`, where Lightning looks; iterating raises InputError.
    """

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def __iter__(self) -> NoReturn:
        raise InputError(
            "a loader cannot be made into another DataLoader: to go on in an epoch give it a state with "
            "load_state_dict() (for the Hugging Face Trainer set ignore_data_skip=True), to share it among ranks make "
            "it with rank= and world_size="
        )

"""What code written for a `torch.utils.data.DataLoader` finds in place of its sampler.

timm and Lightning call `loader.sampler.set_epoch(epoch)` before each epoch, scripts take `len(loader.sampler)` for the
samples of their rank.
"""

from __future__ import annotations

from collections.abc import Iterator

from .epochs import Epochs


class EpochSampler:
    """The samples of one epoch on the loader's rank, in the order in which it serves them; bad ones not yet replaced.

    A view, for reading and for `set_epoch`, which is the loader's: the order is chosen where the loader is made.
    """

    def __init__(self, epochs: Epochs, epoch: int) -> None:
        self._epochs, self._epoch = epochs, epoch

    def __len__(self) -> int:
        return sum(share.stop - share.start for _, share in self._epochs.shares())

    def __iter__(self) -> Iterator[int]:
        indices = self._epochs.indices(self._epoch)
        for _, share in self._epochs.shares():
            yield from indices[share].tolist()

    def set_epoch(self, epoch: int) -> None:
        """See loader.Loader.set_epoch."""
        self._epochs.set_epoch(epoch)

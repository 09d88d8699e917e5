"""A loader whose batches have another form, such as (images, labels) or a framework's own names, and all else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .sampler import BatchesAreNotIndices, EpochSampler

if TYPE_CHECKING:
    from .loader import Loader

T = TypeVar("T")


class Mapped(Generic[T]):
    """Batches as `function` makes them, when they are asked for, of `loader`, which keeps the place and the state.

    Whatever is not here is the loader's: `mapped.loader.counters`.
    """

    def __init__(self, loader: Loader, function: Callable[[dict[str, Any]], T]) -> None:
        self.loader, self.function = loader, function
        self.batch_size, self.dataset = loader.batch_size, loader.dataset

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        return map(self.function, self.loader)

    @property
    def sampler(self) -> EpochSampler:
        """See Loader.sampler."""
        return self.loader.sampler

    @property
    def batch_sampler(self) -> BatchesAreNotIndices:
        """See Loader.batch_sampler."""
        return self.loader.batch_sampler

    def set_epoch(self, epoch: int) -> None:
        """See Loader.set_epoch."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """See Loader.state_dict."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Loader.load_state_dict."""
        self.loader.load_state_dict(state)

"""A loader whose batches have another form, such as (images, labels) or a framework's own names, and all else of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

if TYPE_CHECKING:
    from .loader import Loader

T = TypeVar("T")
U = TypeVar("U")


class Mapped(Generic[T]):
    """Batches as `function` makes them, when they are asked for, of `loader`, which keeps the place and the state.

    Whatever is not here is the loader's: `epoch`, `state_dict`, `set_epoch`, `sampler`, `counters`, `close`, ...
    """

    def __init__(self, loader: Loader, function: Callable[[dict[str, Any]], T]) -> None:
        self.loader, self.function = loader, function

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[T]:
        return map(self.function, self.loader)

    def __getitem__(self, index: object) -> NoReturn:
        self.loader.__getitem__(index)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # there is none yet where this object is being copied
            raise AttributeError(name)
        return getattr(self.loader, name)

    def map(self, function: Callable[[T], U]) -> Mapped[U]:
        """These batches in yet another form."""
        own = self.function
        return Mapped(self.loader, lambda batch: function(own(batch)))

"""A loader as a `torch.utils.data.DataLoader`, for frameworks that accept nothing else.

Lightning's Fabric and `overfit_batches` ask for an instance of that class. accelerate takes any iterable, but asks a
DataLoader that it has prepared whether an epoch ends, to apply gradients that it has accumulated until then.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from ..errors import InputError
from .loader import Loader, Mapped


def as_dataloader(loader: Loader | Mapped[Any]) -> LoaderAsDataLoader:
    """This loader, or one that `map` has made, as a torch DataLoader; batches and state are the loader's.

    It has `state_dict`, `load_state_dict` and `set_epoch`. Frameworks leave it to the ranks and devices that the loader
    is made for: `Accelerator.prepare` hands it back and has its state saved, Fabric only moves its batches. Raises
    InputError for what is no loader, and when another DataLoader is made of it.
    """
    if not isinstance(loader, Loader | Mapped):
        raise InputError(f"as_dataloader takes a loader of sdali, got {type(loader).__name__}")
    return LoaderAsDataLoader(loader)


class LoaderAsDataLoader(DataLoader[Any]):
    """See as_dataloader. Lightning makes it anew from its attributes, so it takes and ignores those of a DataLoader."""

    _is_accelerate_prepared = True  # else accelerate would divide what is a rank's share already
    use_stateful_dataloader = True  # accelerate's save_state and load_state ask for the state
    end_of_dataloader = False  # accelerate reads both
    remainder = -1  # how many samples of all ranks' last batches accelerate keeps; -1, 0: all of them

    def __init__(self, loader: Loader | Mapped[Any], **_: Any) -> None:
        super().__init__(_Samples(loader), batch_size=loader.batch_size)
        self.loader = loader
        if loader._share.pad:  # the repeats are the last of what accelerate gathers
            self.remainder = loader._share.length % loader._share.step

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        accelerate = sys.modules.get("accelerate.state")  # loaded where it is used
        gradients = None if accelerate is None else accelerate.GradientState()
        self.end_of_dataloader = False
        if gradients is not None:
            gradients._add_dataloader(self)
        try:
            for batch in self.loader:
                self.end_of_dataloader = self.loader._cursor.position >= self.loader._share.end
                yield batch
        finally:
            if gradients is not None:
                gradients._remove_dataloader(self)

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        """See Loader.set_epoch."""
        self.loader.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """See Loader.state_dict."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Loader.load_state_dict."""
        self.loader.load_state_dict(state)


class _Samples(IterableDataset[Any]):
    """Iterable for torch, so that no framework puts a sampler of its own before it; only its length is there."""

    def __init__(self, loader: Loader | Mapped[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader.dataset)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader.batch_sampler)  # refuses, and says what to do

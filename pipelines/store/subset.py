"""Some samples of an image store, in the form of a store: a part to train on, or what is left after a restart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .boxes import Boxes, Objects
from .reader import ImageStore

if TYPE_CHECKING:
    from .heatmaps import Heatmaps


class Subset(ImageStore):
    """An image store of `len(indices)` samples: sample i is sample `indices[i]` of the whole store.

    Indices may come in any order, and repeatedly; a boolean mask [N] takes the samples where it is True. `path`,
    `max_pixels`, `classes`, `ignore_index`, `digest`, `header` and `statistics` are those of the whole store, and
    errors in reading name its indices; `identity`, which the state of a loader names, differs with the indices.
    Raises InputError for an index outside the store, and for a `store` that is no ImageStore.
    """

    def __init__(self, store: ImageStore, indices: Sequence[int] | np.ndarray) -> None:
        if not isinstance(store, ImageStore):
            raise InputError(f"a subset is of an ImageStore: Subset(ImageStore(path), indices); got {store!r}")
        chosen = store.checked(indices)
        if isinstance(store, Subset):
            store, chosen = store.whole, store.indices[chosen]
        self.whole, self.indices = store, chosen
        self.path, self.classes, self.digest, self.header = store.path, store.classes, store.digest, store.header
        self.max_pixels = store.max_pixels
        self.labels, self.sizes = store.labels[self.indices], store.sizes[self.indices]
        self.byte_sizes = store.byte_sizes[self.indices]
        self.names = store.names.at(self.indices)
        self.category_ids, self.image_ids, self.source_sizes = store.category_ids, None, None
        if store.image_ids is not None and store.source_sizes is not None:
            self.image_ids, self.source_sizes = store.image_ids[self.indices], store.source_sizes[self.indices]
        self.has_masks, self.has_boxes, self.ignore_index = store.has_masks, store.has_boxes, store.ignore_index

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.whole.identity.encode() + self.indices.tobytes()).hexdigest()

    def read(self, indices: Iterable[int], *, check: bool = True) -> list[memoryview]:
        return self.whole.read([int(self.indices[index]) for index in indices], check=check)

    def has_mask(self, index: int) -> bool:
        return self.whole.has_mask(int(self.indices[index]))

    def encoded_mask(self, index: int) -> memoryview:
        return self.whole.encoded_mask(int(self.indices[index]))

    def boxes(self, index: int) -> Boxes:
        return self.whole.boxes(int(self.indices[index]))

    def objects(self) -> Objects:
        whole = self.whole.objects()
        begins, ends = (np.searchsorted(whole.images, self.indices, side) for side in ("left", "right"))
        images = np.arange(len(self.indices)).repeat(ends - begins)
        first = (ends - begins).cumsum() - (ends - begins)
        chosen = begins[images] + np.arange(len(images)) - first[images]
        return Objects(images, whole.labels[chosen], whole.difficult[chosen])

    def __reduce__(self) -> tuple[type[Subset], tuple[ImageStore, np.ndarray]]:
        return Subset, (self.whole, self.indices)


class SubsetMaps:
    """The heatmaps of a subset's samples, out of those of the whole store: uint8 [h, w] by index."""

    def __init__(self, maps: Heatmaps, indices: np.ndarray) -> None:
        self._maps, self._indices = maps, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._maps[int(self._indices[index])]

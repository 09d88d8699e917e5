"""What a loader hands out: plan rows and DALI's outputs -> one dict of tensors in the form that a trainer takes.

DALI knows neither bfloat16 nor torch's channels_last, so both are made here, from its float32 planes, with a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..plan.classification import first_views
from ..store.reader import ImageStore


class Batches:
    """Makes the batches of one loader; see loader.Loader for what they hold."""

    def __init__(
        self,
        *,
        store: ImageStore,
        empty: Callable[[], dict[str, torch.Tensor]],
        dtype: torch.dtype,
        channels_last: bool,
        uncoloured: bool,
        pin_memory: bool,
        targets: np.ndarray | None,
        annotations: Callable[[np.ndarray], dict[str, Any]] | None,
    ) -> None:
        """empty: the graph's outputs for a batch of no samples. The rest is as in Loader."""
        self._store, self._empty, self._annotations = store, empty, annotations
        self._dtype, self._channels_last, self._uncoloured = dtype, channels_last, uncoloured
        self._pin_memory = pin_memory
        self._targets = None if targets is None else torch.from_numpy(targets)

    def of(self, rows: np.ndarray, outputs: list[torch.Tensor] | None) -> dict[str, Any]:
        """The batch of these rows; outputs: the graph's, None where there are no rows."""
        tensors = self._empty()
        if outputs is not None:
            tensors = dict(zip(tensors, outputs, strict=True))
        if rows.ndim == 1:
            tensors = {name: tensor.flatten(0, 1) for name, tensor in tensors.items()}  # the one view of each sample
        if "mask" in tensors:
            tensors["mask"] = tensors["mask"].long()  # what torch's losses take
        tensors["image"] = tensors["image"].to(self._dtype)
        if self._channels_last:
            tensors["image"] = tensors["image"].contiguous(memory_format=torch.channels_last)
        indices = first_views(rows)["index"].copy()
        label, index = torch.from_numpy(self._store.labels[indices].astype(np.int64)), torch.from_numpy(indices)
        batch: dict[str, Any] = {**tensors, "label": label, "index": index, "plan": rows}
        if self._annotations is not None:
            batch.update(self._annotations(rows))
        if self._targets is not None:
            batch["target"] = self._targets[label]
        if self._uncoloured:
            batch["colour"] = torch.from_numpy(rows["colour"].copy())
        if self._pin_memory:
            for name in ("image", "mask", "label", "target", "colour"):
                if name in batch and batch[name].device.type == "cpu":
                    batch[name] = batch[name].pin_memory()
        return batch

"""What a loader hands out: plan rows and DALI's outputs -> one dict of tensors in the form that a trainer takes.

DALI knows neither bfloat16 nor torch's channels_last, so both are made here, from its float32 planes, with a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..plan.planner import first_views
from .options import Settings


class Batches:
    """Makes the batches of one loader; Loader says what they hold and explains the arguments."""

    def __init__(
        self,
        settings: Settings,
        *,
        shapes: dict[str, tuple[int, ...]],
        uncoloured: bool,
        targets: np.ndarray | None,
        annotations: Callable[[np.ndarray], dict[str, Any]] | None,
    ) -> None:
        self._store, self._shapes, self._annotations = settings.store, shapes, annotations
        self._device = torch.device("cpu" if settings.cuda is None else f"cuda:{settings.cuda}")
        self._dtype, self._channels_last = getattr(torch, settings.dtype), settings.channels_last
        self._pin_memory, self._uncoloured = settings.pin_memory, uncoloured
        self._targets = None if targets is None else torch.from_numpy(targets)

    def of(self, rows: np.ndarray, outputs: list[torch.Tensor] | None) -> dict[str, Any]:
        """The batch of these rows; outputs: the graph's, or None where there are no rows."""
        tensors = self._empty() if outputs is None else dict(zip(self._shapes, outputs, strict=True))
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

    def _empty(self) -> dict[str, torch.Tensor]:
        """The graph's outputs for a batch of no samples."""
        dtypes = {"image": self._dtype, "mask": torch.uint8}
        return {
            name: torch.empty((0, *shape), dtype=dtypes[name], device=self._device)
            for name, shape in self._shapes.items()
        }

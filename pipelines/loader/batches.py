"""What a loader hands out: plan rows and DALI's outputs -> one dict of tensors in the form that a trainer takes.

DALI knows neither bfloat16 nor torch's channels_last, so both are made here, from its float32 planes, with a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..plan.planner import first_views
from .options import Settings


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Makes the batches of one loader; Loader says what they hold."""

    settings: Settings
    shapes: dict[str, tuple[int, ...]]
    """The names of the graph's outputs, and the shape of each for one sample, which empty batches have."""
    uncoloured: bool = False
    """The trainer applies the colour matrices."""
    targets: np.ndarray | None = None
    """float32 [K, K], a soft label for each class."""
    annotations: Callable[[np.ndarray], dict[str, Any]] | None = None
    """Plan rows -> what a batch has besides pixels."""

    def of(
        self, rows: np.ndarray, outputs: list[torch.Tensor] | None, padding: np.ndarray | None = None
    ) -> dict[str, Any]:
        """The batch of these rows; outputs: the graph's, or None where there are no rows; padding: bool [B]."""
        tensors = self._empty() if outputs is None else dict(zip(self.shapes, outputs, strict=True))
        if rows.ndim == 1:
            tensors = {name: tensor.flatten(0, 1) for name, tensor in tensors.items()}  # the one view of each sample
        if "mask" in tensors:
            tensors["mask"] = tensors["mask"].long()  # what torch's losses take
        tensors["image"] = tensors["image"].to(getattr(torch, self.settings.dtype))
        if self.settings.channels_last:
            tensors["image"] = tensors["image"].contiguous(memory_format=torch.channels_last)
        indices = first_views(rows)["index"].copy()
        label = torch.from_numpy(self.settings.store.labels[indices].astype(np.int64))
        window = torch.from_numpy(rows["window"].astype(np.int64))
        batch: dict[str, Any] = {**tensors, "label": label, "index": torch.from_numpy(indices), "window": window}
        batch["plan"] = rows
        if padding is not None:
            batch["padding"] = torch.from_numpy(padding)
        if self.annotations is not None:
            batch.update(self.annotations(rows))
        if self.targets is not None:
            batch["target"] = torch.from_numpy(self.targets)[label]
        if self.uncoloured:
            batch["colour"] = torch.from_numpy(rows["colour"].copy())
        if self.settings.pin_memory:
            for name in ("image", "mask", "label", "target", "colour"):
                if name in batch and batch[name].device.type == "cpu":
                    batch[name] = batch[name].pin_memory()
        return batch

    def _empty(self) -> dict[str, torch.Tensor]:
        """The graph's outputs for a batch of no samples."""
        device = "cpu" if self.settings.cuda is None else f"cuda:{self.settings.cuda}"
        return {
            name: torch.empty((0, *shape), dtype=torch.uint8 if name == "mask" else torch.float32, device=device)
            for name, shape in self.shapes.items()
        }

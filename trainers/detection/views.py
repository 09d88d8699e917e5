"""Views of a test image, scaled and perhaps mirrored, and how boxes go from the original image to them and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class View:
    """An image of `original` height and width, resized to `size` height and width and perhaps mirrored; pixels."""

    original: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool = False

    def from_original(self, boxes: Tensor) -> Tensor:
        """Boxes float [..., 4], xyxy: from the original image into the view."""
        scaled = boxes * self._factors(boxes)
        return self._flipped(scaled) if self.mirrored else scaled

    def to_original(self, boxes: Tensor) -> Tensor:
        """Boxes float [..., 4], xyxy: from the view into the original image."""
        straight = self._flipped(boxes) if self.mirrored else boxes
        return straight / self._factors(boxes)

    def _factors(self, boxes: Tensor) -> Tensor:
        y, x = (new / old for new, old in zip(self.size, self.original, strict=True))
        return torch.tensor([x, y, x, y], dtype=boxes.dtype, device=boxes.device)

    def _flipped(self, boxes: Tensor) -> Tensor:
        left, top, right, bottom = boxes.unbind(-1)
        width = self.size[1]
        return torch.stack([width - right, top, width - left, bottom], -1)

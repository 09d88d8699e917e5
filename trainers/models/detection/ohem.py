"""Online hard example mining (Shrivastava 2016): the head learns from the regions that it does worst on.

A pass that only reads gives the loss of every region in a pool; NMS by loss drops those that lie on a worse one, and
the worst of the rest are learnt from. The paper's pool is all 2,000 proposals, which costs several steps' time: the
default is our choice. The pass changes no weights and no statistics of norms.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import nms

from ...core.checks import check_count
from .rpn import check_threshold


@dataclass(frozen=True, kw_only=True)
class OHEMConfig:
    """Pool of hard example mining."""

    pool: int = 300
    """Proposals of each image that are looked at, beside its ground truth. The paper's is 2000."""

    nms_threshold: float = 0.7
    """IoU with a region of more loss above which one is left out."""

    def __post_init__(self) -> None:
        check_count("pool", self.pool)
        check_threshold("nms_threshold", self.nms_threshold)


def hardest(regions: Tensor, losses: Tensor, keep: int, nms_threshold: float) -> Tensor:
    """Numbers int64 [keep at most] of the regions float32 [R, 4] of one image with losses float32 [R], worst first."""
    return nms(regions, losses, nms_threshold)[:keep]


@contextmanager
def read_only(*modules: nn.Module) -> Iterator[None]:
    """Without gradients, and with the modules' statistics as they were when it ends."""
    kept = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers()]
    with torch.no_grad():
        yield
        for buffer, before in kept:
            buffer.copy_(before)

"""What every peer is given: the same files, the same recipe, the same batch size and threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Full-size photographs -> training batches of float32 NCHW, normalised.

    The recipe: a window of area U(0.08, 1) and aspect in (3/4, 4/3), resized with a kernel at random, colour jitter 0.4
    / 0.4 / 0.4, PCA lighting 0.1, flip, normalisation. Each peer says what it lacks.
    """

    files: tuple[Path, ...]
    """The images, in the order of the store."""
    store: Path
    """The same images as an LMDB store."""
    batch_size: int
    size: int
    threads: int
    device: str
    """"cpu" or "cuda:0"."""

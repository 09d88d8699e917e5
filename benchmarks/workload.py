"""What every peer is given: the same files, the same recipe, the same batch size and threads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
JITTER = 0.4


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Full-size photographs -> training batches of float32 NCHW, normalised, on `device`.

    The recipe: a window of AREA and ASPECT, resized with a kernel at random, brightness, contrast and saturation
    jittered by JITTER, PCA lighting 0.1, flip, normalisation. Each peer does what it can, and says what it lacks.
    """

    files: tuple[Path, ...]
    """The images, in the order of the store."""
    store: Path
    """The same images as an LMDB store."""
    scratch: Path
    """A folder for what a peer makes of them."""
    batch_size: int
    size: int
    threads: int
    device: str
    """"cpu" or "cuda:0"."""

    @property
    def cuda(self) -> int | None:
        """The GPU's ordinal, None for the CPU."""
        return None if self.device == "cpu" else int(self.device.partition(":")[2] or 0)
